"""What a node does when a build goes on at the signer."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from buildfarm.errors import LeaseLost
from workers import tasks
from workers.attempt.finished import Finished
from workers.tasks import Worker


class Lost:
    def hand_over(self, *_, **__):
        raise LeaseLost("It is another node's.")


class Held:
    def hand_over(self, *_, **__):
        """The lease is the signer's."""


def hand_over(monkeypatch, requests):
    monkeypatch.setattr(tasks, "SignRequests", lambda _: requests)
    handed_over = threading.Event()
    tools = SimpleNamespace(pool=SimpleNamespace(handed_over=handed_over), exporter=SimpleNamespace(sent={}))
    attempt = SimpleNamespace(
        end_log=lambda: None, persist=lambda write: write(), decide=lambda: None, release=lambda: None
    )
    worker = SimpleNamespace(records=SimpleNamespace(admission=None), _input=lambda *_: "")
    yield handed_over
    Worker._hand_over(worker, None, SimpleNamespace(target="apps/t/a"), Finished(None, pinned=True), tools, attempt)
    yield handed_over


def test_the_pool_knows_of_a_build_that_was_handed_over(monkeypatch):
    before, after = (event.is_set() for event in hand_over(monkeypatch, Held()))
    assert (before, after) == (False, True)


def test_the_pool_does_not_wait_for_a_build_that_was_not(monkeypatch):
    steps = hand_over(monkeypatch, Lost())
    handed_over = next(steps)
    with pytest.raises(LeaseLost):
        next(steps)
    assert not handed_over.is_set()
