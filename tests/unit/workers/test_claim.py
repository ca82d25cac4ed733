"""A claim that gets no answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import StoreError
from buildfarm.store import Unclaimed
from workers.attempt import claim as claiming


class Away:
    """Redis that does not answer so often; it may have heard."""

    def __init__(self, times):
        self.times = times
        self.tokens = []

    def claim(self, build_id, node, token, *, offer, bases, size):
        self.tokens.append(token)
        if len(self.tokens) <= self.times:
            raise StoreError("Redis does not answer.")
        return Unclaimed("running")


def test_it_is_repeated_with_the_same_token_and_no_other_claim_has_it(monkeypatch):
    monkeypatch.setattr(claiming.time, "sleep", lambda seconds: None)
    first, second = Away(2), Away(0)
    for redis in (first, second):
        assert claiming.claim(redis, "b", "n", 60) == Unclaimed("running")
    assert len(first.tokens) == 3
    assert len(set(first.tokens)) == 1
    assert set(first.tokens) != set(second.tokens)


def test_it_is_given_up_when_the_patience_is_over(monkeypatch):
    monkeypatch.setattr(claiming.time, "sleep", lambda seconds: None)
    with pytest.raises(StoreError):
        claiming.claim(Away(10**9), "b", "n", 0.01)


class Offering:
    """Redis that offers the build to another node, which takes it when it is looked at so often; 0: never."""

    def __init__(self, looks):
        self.looks = looks
        self.seen = 0
        self.claims = []

    def claim(self, build_id, node, token, *, offer, bases, size):
        self.claims.append((build_id, offer))
        return Unclaimed("offered", "newer") if offer else Unclaimed("running" if self.looks else "unknown")

    def waits(self, build_id):
        self.seen += 1
        return self.seen != self.looks


def test_a_build_that_is_offered_is_left_to_the_node_that_takes_it(monkeypatch):
    slept = []
    monkeypatch.setattr(claiming.time, "sleep", slept.append)
    redis = Offering(looks=2)
    assert claiming.claim(redis, "b", "n", 60, 0.1) == Unclaimed("running")
    assert redis.claims == [("b", True), ("newer", False)]
    assert slept == [0.004, 0.008]


def test_a_build_that_nobody_takes_is_claimed_after_the_wait_and_offered_no_more(monkeypatch):
    slept = []
    monkeypatch.setattr(claiming.time, "sleep", slept.append)
    redis = Offering(looks=0)
    claiming.claim(redis, "b", "n", 60, 0.1)
    assert redis.claims == [("b", True), ("newer", False)]
    assert sum(slept) == pytest.approx(0.1)


def test_nothing_is_offered_where_the_wait_is_zero():
    redis = Offering(looks=0)
    claiming.claim(redis, "b", "n", 60, 0)
    assert redis.claims == [("b", False)]


@given(st.floats(0, 1))
def test_pauses_are_together_as_long_as_the_wait(seconds):
    found = list(claiming.pauses(seconds))
    assert sum(found) == pytest.approx(seconds)
    assert all(pause > 0 for pause in found)
    assert len(found) <= 8
