"""The line that stands for what is missing of a log: once, in its place, for each reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.store.logs import entries_of, joined, marked

CUT = "3-0 7-0 1234 2 compile"
TEXT = "[1,234 lines are missing here: they were dropped to keep logs within their bounds]"


def line(position):
    return position, {"a": "1", "p": "compile", "t": position}


def lines(*positions):
    return [line(f"{position}-0") for position in positions]


@pytest.mark.parametrize(
    ("after", "read", "is_all", "shown"),
    [
        ("0", (1, 2, 3, 8, 9), True, ["1-0", "2-0", "3-0", TEXT, "8-0", "9-0"]),
        ("3-0", (8, 9), False, [TEXT, "8-0", "9-0"]),
        ("3-0", (), True, [TEXT]),  # all that came after the beginning is gone
        ("0", (1, 2), False, ["1-0", "2-0"]),  # a page that ends before
        ("0", (1, 2, 3), True, ["1-0", "2-0", "3-0", TEXT]),
        ("5-0", (8,), True, [TEXT.replace("1,234 lines", "Lines"), "8-0"]),  # it had seen some of them
        ("5-0", (6, 7, 8), True, ["6-0", "7-0", "8-0"]),  # read just before they were dropped
        ("7-0", (8,), True, ["8-0"]),
        ("7-0", (), True, []),
        ("9-0", (), True, []),
    ],
)
def test_a_reader_sees_one_mark_for_what_it_lacks(after, read, is_all, shown):
    found = marked(after, lines(*read), CUT, is_all=is_all)
    assert [fields["t"] for _, fields in found] == shown
    assert all(position == "7-0" for position, fields in found if fields["t"][0] == "[")


def test_without_a_cut_nothing_is_marked():
    assert marked("0", lines(1, 2), None, is_all=True) == lines(1, 2)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10))
def test_two_streams_read_as_one(head, tail, limit):
    whole = lines(*range(1, head + tail + 1))
    first, second = whole[:head], whole[head:]
    seen, is_all = [], False
    while not is_all:
        read_head = [entry for entry in first if entry not in seen][:limit]
        read_tail = [entry for entry in second if entry not in seen][:limit]
        found, is_all = joined(read_head, read_tail, limit)
        seen += found
    assert seen == whole


@pytest.mark.parametrize("answer", [{"s": lines(1)}, {"s": [lines(1)]}, [["s", lines(1)]]])
def test_an_answer_is_read_whichever_form_it_has(answer):
    assert entries_of(answer, "s") == lines(1)
    assert entries_of(answer, "other") == []
    assert entries_of(None, "s") == []
