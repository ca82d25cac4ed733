"""What strangers' code nests a thousand times over is the app's fault, and never takes the node's reader down."""

from __future__ import annotations

import pytest

from buildfarm.errors import CompileError
from workers.buildpacks.manifests import _parse_json, _parse_project
from workers.buildpacks.release import parse_release, parse_report

DEPTH = 20_000


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda text: _parse_json(text, "app.json"), '{"buildpacks": ' + "[" * DEPTH),
        (lambda text: _parse_project(text, "project.toml"), "a = " + "[" * DEPTH),
        (lambda text: parse_release(text.encode(), "x"), "default_process_types: " + "[" * DEPTH),
    ],
    ids=["json", "toml", "yaml"],
)
def test_a_file_that_is_nested_too_deep_is_refused(read, text):
    with pytest.raises(CompileError, match="nested too deep"):
        read(text)


def test_a_report_that_is_nested_too_deep_says_nothing():
    assert parse_report(b'{"a": ' + b"[" * DEPTH) == {}
