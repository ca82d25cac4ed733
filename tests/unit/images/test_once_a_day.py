"""What is asked once a day: the answer stays for builds of the same day and the same config vars."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"
# ask NAME writes down that it was called, and says what the file "answer" has
SCRIPT = """
set -euo pipefail
source "$1/once-a-day"
ask() { echo "$1" >>asked; cat answer; }
once_a_day "$PWD/cache" "$PWD/env" "$2" ask "$2"
"""


@pytest.fixture
def ask(tmp_path):
    text = (LIBRARY / "once-a-day").read_text().replace("/usr/lib/buildfarm/keep", str(LIBRARY / "keep"))
    (tmp_path / "once-a-day").write_text(text)
    (tmp_path / "status").write_text("Package: libc6\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "programs").mkdir()

    def asked(name: str = "node@^24", day: str = "2026-01-01", answer: str | None = "24.1.0", code: int = 0) -> str:
        date = tmp_path / "programs/date"
        date.write_text(f"#!/bin/sh\necho {day}\n")
        date.chmod(0o755)
        (tmp_path / "answer").unlink(missing_ok=True)
        if answer is not None:
            (tmp_path / "answer").write_text(answer)
        path = f"{tmp_path / 'programs'}:{os.environ['PATH']}"
        variables = {"PATH": path, "BUILDFARM_PACKAGES": str(tmp_path / "status")}
        command = ["bash", "-c", SCRIPT, "test", str(tmp_path), name]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    return asked


def test_the_first_answer_of_a_day_counts_all_day(ask, tmp_path):
    assert ask(answer="24.1.0") == "24.1.0"
    assert ask(answer="24.2.0") == "24.1.0"
    assert (tmp_path / "asked").read_text() == "node@^24\n"
    assert ask(answer="24.2.0", day="2026-01-02") == "24.2.0"


def test_another_config_var_asks_again(ask, tmp_path):
    ask(answer="24.1.0")
    (tmp_path / "env/npm_config_registry").write_text("https://example.org/")
    assert ask(answer="24.0.0") == "24.0.0"


def test_ranges_that_look_alike_have_answers_of_their_own(ask):
    assert ask("node@^24.1", answer="24.9.0") == "24.9.0"
    assert ask("node@~24.1", answer="24.1.3") == "24.1.3"
    assert ask("@oven/bun@1 || 2", answer="2.0.0") == "2.0.0"
    assert ask("node@^24.1", answer="25") == "24.9.0"


@pytest.mark.parametrize("nothing", [None, ""], ids=["it fails", "it says nothing"])
def test_where_nobody_answers_the_last_answer_counts(ask, nothing):
    assert ask(answer=nothing, code=1) == ""
    ask(answer="24.1.0")
    assert ask(answer=nothing, day="2026-01-02") == "24.1.0"
    assert ask(answer="24.2.0", day="2026-01-02") == "24.2.0", "an old answer counts as one of today"
