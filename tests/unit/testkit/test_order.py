"""The order in which files of tests are given to pytest's workers."""

from __future__ import annotations

from dataclasses import dataclass

from tests import conftest


@dataclass(frozen=True)
class Item:
    nodeid: str


def test_the_longest_files_are_first_and_those_of_the_cluster_together(monkeypatch, tmp_path):
    monkeypatch.setattr(conftest, "RECORDED", tmp_path / "seconds.txt")
    conftest.RECORDED.write_text(
        "70 tests/integration/test_long.py\n60 tests/faults/test_a.py\n15 tests/integration/test_second_engine.py\n"
    )
    names = [
        "tests/unit/test_quick.py::one", "tests/integration/test_long.py::two", "tests/integration/test_long.py::one",
        "tests/integration/test_second_engine.py::one", "tests/integration/test_unknown.py::one",
        "tests/faults/test_a.py::one", "tests/unit/test_quick.py::two",
    ]  # fmt: skip
    assert [item.nodeid for item in conftest.in_order([Item(name) for name in names])] == [
        "tests/integration/test_second_engine.py::one", "tests/faults/test_a.py::one",
        "tests/integration/test_long.py::two", "tests/integration/test_long.py::one",
        "tests/integration/test_unknown.py::one", "tests/unit/test_quick.py::one", "tests/unit/test_quick.py::two",
    ]  # fmt: skip


def test_a_file_that_ran_has_a_new_line_and_others_keep_theirs(monkeypatch, tmp_path):
    for name in ("long", "old", "other"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setattr(conftest, "HERE", tmp_path / "tests")
    monkeypatch.setattr(conftest, "RECORDED", tmp_path / "seconds.txt")
    conftest.RECORDED.write_text("90 gone.py\n50 old.py\n20 other.py\n")
    recorder = conftest.Recorder()
    recorder.seconds |= {"old.py": 3.0, "long.py": 60.4}
    recorder.pytest_sessionfinish()
    assert conftest.RECORDED.read_text() == "60 long.py\n20 other.py\n"
