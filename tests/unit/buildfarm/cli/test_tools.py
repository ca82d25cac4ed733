"""`buildfarm tools`: what is refused before anything is sent."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from buildfarm.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name the tools to make, or use --all."),
        (["go", "--all"], "Name the tools to make, or use --all."),
        (["gone"], "There is no tool 'gone'."),
        (["go@0.1"], "The tool go has no version '0.1'."),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, said):
    done = CliRunner().invoke(main, ["tools", "make", *arguments])
    assert done.exit_code != 0
    assert said in done.output
