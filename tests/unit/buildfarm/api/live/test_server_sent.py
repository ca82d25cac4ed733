"""Events of live streams, from a feed on which nothing happens."""

from __future__ import annotations

from contextlib import asynccontextmanager

from buildfarm.api.live.server_sent import LiveStream, state_events
from buildfarm.api.slots import Slots
from testkit.loops import run


class Quiet:
    """Feeds, and a feed, of which nobody hears anything."""

    ended = False

    @asynccontextmanager
    async def follow(self, stream, encode):
        yield self

    async def after(self, position):
        return []

    async def change(self, seconds):
        return False


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
