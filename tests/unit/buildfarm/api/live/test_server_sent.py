"""Events of live streams, from a feed on which nothing happens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from buildfarm.api.live.feeds import Feed
from buildfarm.api.live.server_sent import LiveStream, batches, state_events
from buildfarm.api.slots import Slots
from testkit.loops import run


class Quiet:
    """Feeds, and a feed, of which nobody hears anything."""

    ended, changes = False, 0

    @asynccontextmanager
    async def follow(self, stream, encode):
        yield self

    async def after(self, position):
        return []

    async def change(self, seen, seconds):
        return False


class Busy:
    """A Redis in which the first line of a log comes while a follower reads what was there before."""

    def __init__(self):
        self.feed = Feed(self, "log", "record", lambda record: False, lambda position, fields: fields["t"].encode())
        self.came = False

    async def xrange(self, *_, **__):
        if not self.came:
            self.came = True
            await self.feed._step()
        return []

    async def xrevrange(self, *_, **__):
        return []

    async def hgetall(self, _):
        return {"state": "running"}

    async def hget(self, *_):
        return None

    async def xread(self, *_, **__):
        return [["log", [("1-0", {"a": "1", "p": "compile", "t": "a line"})]]]


def test_what_comes_while_a_follower_reads_is_not_waited_for():
    async def first_two():
        told = batches(Busy().feed, "0")
        async with asyncio.timeout(5):  # a sign of life comes after 15 s
            return [await anext(told), await anext(told)]

    assert [[entry.encoded for entry in entries] for entries in run(first_two())] == [[], [b"a line"]]


def test_a_follower_is_told_of_a_change_that_came_while_it_was_sent_the_one_before():
    async def first_two():
        feed = Busy().feed
        await feed._step()
        told = batches(feed, "1-0")
        async with asyncio.timeout(5):
            first = await anext(told)
            feed.record = {"state": "older"}
            await feed._step()  # finds it changed
            return [first, await anext(told)]

    assert len(run(first_two())) == 2


def test_a_tenant_without_events_hears_that_the_stream_is_alive():
    async def first_two():
        told = state_events(Quiet(), "0", visible=lambda entry: False)
        return [await anext(told), await anext(told)]

    assert run(first_two())[1].startswith(b":")


def test_proxies_are_asked_to_hold_nothing_back():
    stream = LiveStream(
        state_events(Quiet(), "0", visible=lambda entry: True), Slots("stream", total_max=1, token_max=1), "token"
    )
    assert stream.headers["x-accel-buffering"] == "no"
