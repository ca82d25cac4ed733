"""How the command line reports what it did not send."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from buildfarm.cli.show import show_left_out
from buildfarm.sources.choice import LeftOut

LEFT_OUT = [
    LeftOut(".env", 1, "/home/x/.config/git/ignore", "line 1: .env"),
    LeftOut("a\x1b[2J\udcff", 1, ".gitignore", "line 2: a*"),
    LeftOut("node_modules/", 1200, ".gitignore", "line 1: node_modules/"),
    LeftOut("x", 1, "git's ignore files", ""),
]


def shown(left_out, *, verbose):
    console = Console(file=io.StringIO(), highlight=False)
    show_left_out(console, left_out, verbose=verbose)
    return console.file.getvalue()


@pytest.mark.kind("sources")
def test_the_number_of_files_is_shown_by_ignore_file(record_property):
    line = shown(LEFT_OUT, verbose=False)
    assert line == (
        "left out: 1,203 files (1,201 by .gitignore, 1 by /home/x/.config/git/ignore, 1 by git's ignore files; "
        "--verbose lists them)\n"
    )
    record_property("seen", line.strip())


def test_each_is_listed_with_its_rule_if_asked_and_controls_no_terminal():
    assert shown(LEFT_OUT, verbose=True).splitlines()[1:] == [
        "  .env: /home/x/.config/git/ignore, line 1: .env",
        r"  a\x1b[2J\xff: .gitignore, line 2: a*",
        "  node_modules/ (1,200 files): .gitignore, line 1: node_modules/",
        "  x: git's ignore files",
    ]


def test_nothing_is_said_if_everything_is_sent():
    assert shown([], verbose=True) == ""
