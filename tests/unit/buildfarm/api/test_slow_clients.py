"""What limits clients that hold connections open: slots, and patience with a body."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.api.caller import in_turn
from buildfarm.api.live.feeds import FeedEntry, _first_of
from buildfarm.api.problems import RefusedError
from buildfarm.api.slots import Slots, Turns
from buildfarm.api.uploads import Patience
from buildfarm.client.wire import busy_seconds
from testkit.loops import QuickLoop, run


def refusal(slots, token):
    with pytest.raises(RefusedError) as refused, slots.take(token):
        pass
    return refused.value


def test_a_token_has_its_own_limit_and_all_share_one():
    slots = Slots("uploads", total_max=3, token_max=2)
    with ExitStack() as held:
        for token in ("a", "a", "b"):
            held.enter_context(slots.take(token))
        own, all_of_them = refusal(slots, "a"), refusal(slots, "c")
    assert (own.status, own.message) == (429, "This token already has 2 uploads open, which is its limit.")
    assert (all_of_them.status, all_of_them.message) == (503, "The API already has 3 uploads open, which is its limit.")
    assert own.advice
    assert all_of_them.advice
    assert own.retry_seconds == all_of_them.retry_seconds == 5
    assert slots.used == 0


def test_a_slot_is_given_back_after_a_failure():
    slots = Slots("uploads", total_max=1, token_max=1)
    with suppress(ValueError), slots.take("a"):
        raise ValueError
    with slots.take("a"):
        assert slots.used == 1


# A tenant's tokens count together, those for all tenants each by itself.
CALLERS = [("1", "shop"), ("2", "shop"), ("3", "shop"), ("4", "shop"), *[("5", None)] * 4]


def test_components_are_read_one_at_a_time_and_few_wait():
    running, most = 0, 0

    def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        threading.Event().wait(0.01)
        running -= 1
        return "found"

    async def all_at_once():
        turns = Turns(Slots("requests for components", total_max=9, token_max=3))
        callers = [SimpleNamespace(tenant=tenant, token=SimpleNamespace(id=token)) for token, tenant in CALLERS]
        answers = await asyncio.gather(*(in_turn(one, turns, work) for one in callers), return_exceptions=True)
        return turns.slots.used, [one if isinstance(one, str) else one.problem_code for one in answers]

    used, answers = run(all_at_once())
    assert (used, most) == (0, 1)
    assert answers == [*["found"] * 3, "request.busy"] * 2


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_slots_are_never_more_than_their_limits(steps):
    slots, held = Slots("uploads", total_max=4, token_max=2), {token: [] for token in "abc"}
    for is_opened, token in steps:
        used = sum(map(len, held.values()))
        if is_opened:
            block, may = slots.take(token), len(held[token]) < 2 and used < 4
            try:
                block.__enter__()
            except RefusedError:
                assert not may
            else:
                assert may
                held[token].append(block)
        elif held[token]:
            held[token].pop().__exit__(None, None, None)
        assert slots.used == sum(map(len, held.values()))


def patience_with(monkeypatch, pieces, chunk_seconds):
    """How many pieces (seconds to wait, bytes) a patient reader gets before it gives up; -1: all of them."""
    left = iter(pieces)

    async def receive():
        seconds, size = next(left)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"x" * size}

    async def read():
        monkeypatch.setattr("buildfarm.api.uploads.time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))
        patience = Patience(receive, chunk_seconds)
        for number in range(len(pieces)):
            try:
                await patience()
            except RefusedError as error:
                assert (error.status, error.problem_code) == (408, "request.slow")
                return number
        return -1

    return run(read(), QuickLoop)


@pytest.mark.parametrize(
    ("pieces", "got"),
    [
        ([(0, 10)] * 100, {-1}),
        ([(1, 10)], {0}),
        ([(0.02, 1)] * 20, {4, 5}),
        ([(0.06, 65_536)] * 4, {-1}),
        ([(0.06, 30_000), (0.06, 30_000)], {1}),
    ],
    ids=["small and at once", "silent", "a byte now and then", "steady", "too little"],
)
def test_each_chunk_of_a_body_has_its_time(monkeypatch, pieces, got):
    assert patience_with(monkeypatch, pieces, 0.1) in got


def test_what_is_sent_at_once_is_bounded_but_never_nothing():
    large, small = FeedEntry("1-0", {}, b"x" * 300_000), FeedEntry("2-0", {}, b"x" * 60_000)
    assert _first_of([]) == []
    assert _first_of([large, small]) == [large]
    assert _first_of([small] * 5) == [small] * 2


@pytest.mark.parametrize(
    ("status", "code", "after", "seconds"),
    [
        (429, "request.busy", "5", 5),
        (503, "request.busy", "", 0.5),
        (429, "request.rate", "700", 0),
        (201, "", "", 0),
    ],
)
def test_an_upload_is_sent_again_only_if_it_found_no_slot(status, code, after, seconds):
    answer = httpx.Response(status, json={"code": code}, headers={"Retry-After": after} if after else {})
    assert busy_seconds(answer) == seconds
