"""What the redeploy bench says where it has measured nothing, and where what it measures has just gone."""

from __future__ import annotations

import pytest

from bench.redeploy import usage
from bench.redeploy.apps import _with_command
from bench.redeploy.deploys import Command, Times
from testkit.table import Claims


def test_a_command_line_without_rounds_is_not_measured(capsys):
    _with_command(Claims("redeploys"), "app", Times(), 0.8)
    assert capsys.readouterr().out == "FALLS SHORT: app at most 0.8 s: not measured\n"


def test_a_command_line_is_judged_by_its_whole_time(capsys):
    times = Times()
    times.add(Command(0.5, 0.2, 0.1))
    _with_command(Claims("redeploys"), "app", times, 0.8)
    assert capsys.readouterr().out.startswith("holds: app at most 0.8 s: ")


def test_the_memory_of_a_cgroup_that_is_nowhere_is_an_error():
    with pytest.raises(FileNotFoundError, match="no memory of /nowhere"):
        usage._counted("/nowhere")
