"""What `buildfarm plan` prints of a plan."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from buildfarm.cli.plan import show_plan


@pytest.mark.parametrize(
    ("start_from", "line"),
    [("app.yaml (entrypoint)", "start      that of app.yaml (entrypoint), as there is no Procfile"), ("", "")],
)
def test_a_start_of_another_platforms_file_is_told_with_the_file(start_from, line):
    text = io.StringIO()
    made = {"buildpacks": [], "start_from": start_from, "processes": {"web": "x"}, "problems": []}
    show_plan(Console(file=text, width=200), made)
    assert text.getvalue().splitlines() == [*([line] if line else []), "process    web: x"]
