"""What is printed for people: colours where they are wanted, and tables that fit their terminal."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from buildfarm.cli import main, queue, show
from buildfarm.cli.error_handler import Exit, wanted_colour
from buildfarm.node import Node, NodeState
from buildfarm.queue.view import QueueRow

BUILDER = "builder@sha256:" + "b" * 64
NODE = Node(
    id="buildfarm-worker-7f9c6d5b8-x2x9k.farm.svc.cluster.local",
    version="0.1.0",
    state=NodeState.CLOSED,
    reason="its disk is full [1.2 GB free]",
    slots=8,
    builds=("5dc03604d47a6b80", "aad27a91f96658ba"),
    builder="sha256:" + "b" * 64,
    disk_free_bytes=24_600_000_000,
)
ROW = QueueRow(
    build_class="interactive", tenant="t" * 30, held=1000, queued=100_000, running=10_000, oldest_seconds=7000,
    started=1000, share=0.5,
)  # fmt: skip


class Stream(io.StringIO):
    """Where text goes; a terminal or not."""

    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture
def shown(monkeypatch):
    """Prints a table of nodes and one of tenants, and returns the text."""

    def show_all(columns=None, *, terminal=False, **variables):
        stream = Stream(terminal=terminal)
        for name in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TERM", "COLUMNS", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", "COLUMNS": columns, **variables}.items():
            if value is not None:
                monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "stdout", stream)
        show.show_nodes(SimpleNamespace(builder=lambda: BUILDER), [NODE])
        show.terminal().print(queue._table("tenant", [ROW], 5))
        return stream.getvalue()

    return show_all


@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_their_terminal_and_lose_nothing(shown, columns):
    lines = shown(columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in "".join(lines)
    pieces = [text.strip() for text in (item[: lines[0].index("state")] for item in lines[1:]) if text.strip()]
    assert "".join(pieces).startswith(NODE.id)


def test_a_pipe_gets_one_row_per_line(shown):
    lines = shown().splitlines()
    assert len(lines) == 5
    assert NODE.id in lines[1]
    assert NODE.reason in lines[1]


@pytest.mark.parametrize(
    ("variables", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours_are_where_they_are_wanted(shown, variables, terminal, pipe):
    assert ("\x1b[33m" in shown(terminal=True, **variables)) == terminal
    assert ("\x1b[33m" in shown(**variables)) == pipe


def test_forced_colours_do_not_move_the_cursor_of_a_pipe(shown, monkeypatch):
    shown(CLICOLOR_FORCE="1")
    console = show.terminal()
    with console.status("queued"):
        console.print("a line")
    assert "a line" in sys.stdout.getvalue()
    assert "\x1b[?25l" not in sys.stdout.getvalue()


def test_errors_follow_the_same_variables():
    def called(**variables):
        environment = {"BUILDFARM_REDIS_URL": "redis://127.0.0.1:1", "TERM": "xterm", **variables}
        return CliRunner().invoke(main, ["list"], env=environment, color=None)

    assert called().exit_code == Exit.FARM_FAULT
    assert "\x1b[31m" not in called(CLICOLOR_FORCE=None, NO_COLOR=None).stderr
    assert "\x1b[31m" in called(CLICOLOR_FORCE="1", NO_COLOR=None).stderr
    assert "\x1b[31m" not in called(CLICOLOR_FORCE="1", NO_COLOR="1").stderr


def test_without_any_variable_the_terminal_decides():
    assert wanted_colour({}) is None
