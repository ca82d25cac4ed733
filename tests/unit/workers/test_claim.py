"""A claim that gets no answer."""

from __future__ import annotations

import pytest

from buildfarm.errors import StoreError
from buildfarm.store import Unclaimed
from workers import tasks


class Away:
    """Redis that does not answer so often; it may have heard."""

    def __init__(self, times):
        self.times = times
        self.tokens = []

    def claim(self, build_id, node, token):
        self.tokens.append(token)
        if len(self.tokens) <= self.times:
            raise StoreError("Redis does not answer.")
        return Unclaimed("running")


def test_it_is_repeated_with_the_same_token_and_no_other_claim_has_it(monkeypatch):
    monkeypatch.setattr(tasks.time, "sleep", lambda seconds: None)
    first, second = Away(2), Away(0)
    for redis in (first, second):
        assert tasks.claim(redis, "b", "n", 60) == Unclaimed("running")
    assert len(first.tokens) == 3
    assert len(set(first.tokens)) == 1
    assert set(first.tokens) != set(second.tokens)


def test_it_is_given_up_when_the_patience_is_over(monkeypatch):
    monkeypatch.setattr(tasks.time, "sleep", lambda seconds: None)
    with pytest.raises(StoreError):
        tasks.claim(Away(10**9), "b", "n", 0.01)
