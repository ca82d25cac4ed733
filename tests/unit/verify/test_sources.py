"""The table of kinds fails unless every input holds, recorded what was seen, and each kind has enough of them."""

from __future__ import annotations

import pytest

from verify.sources import INPUTS_MIN, KINDS, Row, holds, row, run, shortcomings, show


def rows(kinds=KINDS, count=INPUTS_MIN):
    return [Row(kind, f"{kind} {number}", "x", holds=True) for kind in kinds for number in range(count)]


def test_four_inputs_of_each_kind_that_hold_are_enough():
    assert holds(rows())
    assert shortcomings(rows()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_three_inputs_of_a_kind_fall_short(kind):
    fewer = rows()
    fewer.remove(next(item for item in fewer if item.kind == kind))
    assert not holds(fewer)
    assert shortcomings(fewer) == [f"{kind}: 3 inputs, expected 4"]


def test_nothing_at_all_falls_short():
    assert not holds([])
    assert len(shortcomings([])) == len(KINDS)


def test_a_kind_of_another_name_falls_short():
    assert shortcomings([*rows(), *rows(["secret"])]) == ["secret: not one of the kinds"]


def test_one_input_that_fails_is_enough_to_fail():
    assert not holds([*rows(), Row("log", "a", "b", holds=False)])


@pytest.mark.parametrize(
    ("outcome", "seen", "told", "right"),
    [
        ("passed", ["BYE, exit 0"], "BYE, exit 0", True),
        ("passed", ["one", "two"], "one; two", True),
        ("passed", [], "nothing recorded", False),
        ("failed", ["exit 1"], "failed; exit 1", False),
        ("skipped", [], "skipped", False),
    ],
)
def test_a_test_holds_if_it_passed_and_recorded_what_it_saw(outcome, seen, told, right):
    made = row("start", "tests/a.py::test_a_trap_is_set[npm start]", outcome, seen)
    assert made == Row("start", "a trap is set: npm start", told, right)


def test_the_table_has_every_row_by_kind_and_then_what_is_missing(capsys):
    show([Row("log", "[red]a[/red] bar", "100 %", holds=True), Row("sources", "Icon", "left out", holds=False)])
    lines = capsys.readouterr().out.splitlines()
    found = [next(at for at, line in enumerate(lines) if word in line) for word in ("Icon", "[red]a[/red] bar")]
    assert found == sorted(found)
    assert "falls short" in lines[found[0]] and "holds" in lines[found[1]]
    assert any("times: 0 inputs, expected 4" in line for line in lines)
    assert lines[-1] == "1 of 2 inputs hold"


TESTS = """
import pytest

@pytest.mark.kind("log")
@pytest.mark.parametrize("text", ["one", "two"])
def test_bar(text, record_property):
    record_property("seen", text)
    assert text == "one"

@pytest.mark.kind("start")
def test_other(record_property):
    record_property("seen", "x")

@pytest.mark.kind("log")
def test_unavailable():
    pytest.skip("no service")

def test_of_no_kind():
    raise AssertionError
"""


def test_only_tests_of_the_wanted_kind_are_run(tmp_path, capsys):
    (tmp_path / "test_it.py").write_text(TESTS)

    found, status = run([str(tmp_path)], ("log",))

    assert status == 1
    assert [(item.name, item.seen, item.holds) for item in found] == [
        ("bar: one", "one", True),
        ("bar: two", "failed; two", False),
        ("unavailable", "skipped", False),
    ]
    assert "2 deselected" in capsys.readouterr().out
