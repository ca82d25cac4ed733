"""Pushes are taken once each and in their order, however they arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind
from buildfarm.sources.pushes.order import QUIET_SECONDS, WAIT_SECONDS, Line, Pull, arrive, change, settle
from testkit.queue.pushes import commit


def push(before, after, at=0.0, key=""):
    kind = Kind.PUSHED if after else Kind.DELETED
    return Wanted(key=key or f"{before}>{after}", kind=kind, branch="main", commit=after, before=before, at=at)


def chain(*commits):
    return [push(before, after) for before, after in pairwise(commits)]


def run(line, pushes, now=0.0):
    """The line after these pushes, all of which come at the same time, and what was taken of them."""
    taken = []
    for one in pushes:
        line, ready = settle(arrive(line, one, now), now)
        taken += ready
    line, ready = settle(line, now + QUIET_SECONDS)
    return line, [one.commit for one in taken + ready]


@st.composite
def arrivals(draw):
    """A branch's pushes, of which the first makes the branch or not, some of them twice, in any order."""
    made = draw(st.booleans())
    pushes = chain("" if made else commit(0), *(commit(number) for number in range(1, draw(st.integers(2, 12)))))
    return pushes, draw(st.permutations(pushes + draw(st.lists(st.sampled_from(pushes), max_size=12))))


@given(arrivals())
def test_in_whatever_order_and_how_often_pushes_come_each_is_taken_once_and_in_order(drawn):
    pushes, coming = drawn
    line, taken = run(Line(), coming)
    assert taken == [one.commit for one in pushes]
    assert not line.waiting


@given(arrivals(), arrivals())
def test_later_pushes_follow_earlier_ones_and_repeated_ones_change_nothing(first, second):
    line, _ = run(Line(), first[1])
    assert run(line, first[1], now=1000.0) == (line, [])
    head = line.head
    later = chain(head, *(commit(100 + number) for number in range(len(second[0]))))
    line, taken = run(line, later[::-1], now=1000.0)
    assert taken == [one.commit for one in later]
    assert run(line, [*first[1], *later], now=2000.0)[1] == []


@given(st.integers(3, 10).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(1, size - 2), min_size=1))))
def test_a_push_that_never_comes_holds_up_none_after_it_and_is_not_built_when_it_comes_late(drawn):
    size, lost = drawn
    pushes = chain("", *(commit(number) for number in range(size)))
    there = [one for number, one in enumerate(pushes) if number not in lost]
    late = [one for number, one in enumerate(pushes) if number in lost]
    line, taken = Line(), []
    for number, one in enumerate(there):
        line, more = run(line, [one], now=100.0 * number)
        taken += more
    assert taken == [one.commit for one in there]
    line, taken = run(line, late[::-1], now=10_000.0)
    assert (line.head, taken) == (pushes[-1].commit, [])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_pushes_that_were_lost_and_come_again_one_by_one_are_older_than_what_was_built_after_them(order):
    lost = chain("b", "c", "d")
    line, taken = run(Line(), chain("", "a", "b"))
    line, more = run(line, [push("d", "e")], now=100.0)
    assert taken + more == ["a", "b", "e"]
    for number, which in enumerate(order):
        line, taken = run(line, [lost[which]], now=200.0 + 20 * number)
        assert (line.head, taken) == ("e", [])
    assert run(line, [push("e", "f")], now=300.0)[1] == ["f"]


def test_a_push_after_a_lost_push_back_to_an_earlier_commit_is_built():
    line, _ = run(Line(), chain("", "a", "b", "c"))
    assert run(line, [push("a", "d")], now=100.0)[1] == ["d"]


def test_a_branch_that_was_made_again_is_built_even_if_its_end_was_lost():
    line, _ = run(Line(), chain("x", "", "b"))
    assert run(line, [push("", "d")], now=100.0)[1] == ["d"]


def test_the_same_push_a_second_time_may_overtake_the_push_back_between_them():
    line, _ = run(Line(), chain("", "a", "b"))
    _, taken = run(line, [push("a", "b", key="2"), push("b", "a", key="1")], now=50.0)
    assert taken == ["a", "b"]


def test_an_old_push_is_known_after_hundreds_of_others():
    commits = [commit(number) for number in range(900)]
    line, _ = run(Line(), chain("", *commits))
    assert run(line, [push(commits[5], commits[6], key="again")], now=10_000.0)[1] == []


def test_a_push_that_follows_the_newest_is_taken_at_once():
    line, _ = run(Line(), chain("", "aaaaaaa"))
    assert [one.commit for one in settle(arrive(line, push("aaaaaaa", "bbbbbbb"), 50.0), 50.0)[1]] == ["bbbbbbb"]


def test_a_branch_that_goes_back_and_forth_is_built_each_time():
    line, taken = run(Line(), chain("", "a", "b", "a", "b"))
    assert (line.head, taken) == ("b", ["a", "b", "a", "b"])


def test_a_push_back_to_an_earlier_commit_that_comes_before_its_forerunner_wins():
    line, _ = run(Line(), chain("", "a"))
    _, taken = run(line, [push("b", "a", key="2"), push("a", "b", key="1")], now=50.0)
    assert taken == ["b", "a"]


def test_a_branch_that_is_deleted_and_made_again_goes_on():
    line, taken = run(Line(), chain("", "a", "", "b"))
    assert (line.head, taken) == ("b", ["a", "", "b"])


def test_pushes_wait_as_long_as_others_come_but_not_for_ever():
    line = arrive(Line(), push("x", "y"), 0.0)
    assert line.due_at() == QUIET_SECONDS
    for number in range(80):
        line = arrive(line, push(f"x{number}", f"y{number}"), float(number))
    assert line.due_at() == WAIT_SECONDS


def test_many_that_wait_are_bounded():
    line = Line()
    for number in range(600):
        line = arrive(line, push(f"x{number}", f"y{number}"), 0.0)
        line, _ = settle(line, 0.0)
    assert len(line.waiting) <= 500


def test_a_push_that_the_forge_dates_long_before_the_newest_is_old_even_if_it_follows_it():
    line, _ = run(Line(), [push("", "a", at=10_000.0), push("a", "b", at=20_000.0)])
    assert run(line, [push("b", "a", at=11_000.0, key="again")])[1] == []
    assert run(line, [push("b", "a", at=19_990.0, key="new")])[1] == ["a"]


def pull(kind, sha="a", at=0.0):
    return Wanted(key=f"{kind}{sha}{at}", kind=kind, branch="feature", commit=sha, number=7, at=at)


@given(st.permutations([pull(Kind.OPENED, "a", 1), pull(Kind.OPENED, "b", 2), pull(Kind.CLOSED, "b", 3)] * 2))
def test_a_closed_pull_request_stays_closed_whatever_comes_late(changes):
    known = Pull()
    for wanted in changes:
        known = change(known, wanted) or known
    assert not known.is_open


@given(st.permutations([pull(Kind.OPENED, "a", 1), pull(Kind.CLOSED, "a", 2), pull(Kind.OPENED, "a", 3)] * 2))
def test_a_pull_request_that_was_opened_again_is_open(changes):
    known = Pull()
    for wanted in changes:
        known = change(known, wanted) or known
    assert (known.is_open, known.at) == (True, 3.0)


def test_a_change_of_the_second_in_which_it_was_closed_does_not_open_it():
    known = change(Pull(), pull(Kind.CLOSED, "a", 2))
    assert change(known, pull(Kind.OPENED, "b", 2)) is None
    assert change(known, pull(Kind.OPENED, "b", 3)).commit == "b"
