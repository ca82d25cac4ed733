"""A command's start counts as fast only if the command did what it should."""

from __future__ import annotations

import pytest

from testkit.table import Claims
from verify.wheel.start_up import CODES, LIMITS, LIST, Run, _judge, _run


@pytest.mark.parametrize(
    ("seconds", "codes", "figure", "holds"),
    [
        (0.1, [4, 4, 4], "0.100 s", True),
        (0.9, [4, 4, 4], "0.900 s", False),
        (0.0, [4, 1, 1], "1 in 2 of 3 runs", False),
        (0.0, [0, 0, 0], "0 in 3 of 3 runs", False),
    ],
    ids=["fast", "slow", "crashes", "finds a farm"],
)
def test_a_start_is_judged_by_its_time_and_its_end(capsys, seconds, codes, figure, holds):
    _judge(Claims("start"), LIST, [Run(seconds, seconds, code) for code in codes])
    said = capsys.readouterr().out
    assert said.startswith("holds" if holds else "FALLS SHORT")
    assert figure in said


def test_each_command_has_a_limit_and_a_code():
    assert LIMITS.keys() == CODES.keys()


def test_a_command_has_nothing_of_a_developers_environment_and_no_farm(monkeypatch, tmp_path):
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START", "BUILDFARM_URL"):
        monkeypatch.setenv(name, "x")
    _run(["sh", "-c", "env >found"], tmp_path)
    found = dict(line.split("=", 1) for line in (tmp_path / "found").read_text().splitlines())
    assert found["BUILDFARM_REDIS_URL"] == "redis://127.0.0.1:1"
    assert not found.keys() & {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START", "BUILDFARM_URL"}
