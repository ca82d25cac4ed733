"""A push as a whole, with a build that stands in for the farm's: what its answer says if something fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
import redis

from buildfarm.api.live.feeds import FeedEntry
from buildfarm.api.problems import RefusedError
from buildfarm.api.routes.git_push import following, receiving
from buildfarm.api.routes.git_push.answer import Answer
from buildfarm.api.routes.git_push.commands import Asked, Update
from buildfarm.api.routes.git_push.receiving import Pushes, Received
from buildfarm.api.routes.git_push.refs import decide
from buildfarm.errors import StoreError, UnconfirmedError
from buildfarm.model import Build, BuildRequest, State
from buildfarm.settings import Settings
from buildfarm.sources.address import ArtifactSource

SOURCE = ArtifactSource(repository="sources/shop", digest="sha256:" + "1" * 64, commit="1" * 40)
BUILD = Build(
    id="b1", request=BuildRequest(tenant="shop", app="web", source=SOURCE), state=State.CANCELLED, submitted_at=0
)
UPDATES = [Update(f"refs/heads/{name}", "1" * 40) for name in ("main", *(f"b{number}" for number in range(20)))]


class Feeds:
    """A log of three lines, whose reads fail as often as given: then, and after the first line."""

    def __init__(self, failures):
        self.failures, self.ended, self.changes, self.asked = failures, True, 0, []

    @asynccontextmanager
    async def follow(self, *_, **__):
        yield self

    async def after(self, position):
        self.asked.append(position)
        if position != "0" and self.failures:
            self.failures -= 1
            raise redis.ConnectionError("gone")
        number = int(position) + 1
        return [FeedEntry(str(number), {"t": f"line {number}"}, b"")] if number < 4 else []


def pushed(
    monkeypatch, *, feeds=None, submit=lambda source: BUILD, get=lambda build_id: BUILD, note=lambda *_, **__: 0
):
    """What the client reads."""
    monkeypatch.setattr(following, "_AGAIN_SECONDS", 0)
    caller = SimpleNamespace(
        services=SimpleNamespace(feeds=feeds or Feeds(0), farm=SimpleNamespace(get=get)), note=note
    )
    received = Received(caller, Pushes.of(Settings()), "shop", "web")
    received._answer = Answer(["report-status", "side-band-64k"])
    received._decided = decide(UPDATES, ["main"])
    monkeypatch.setattr(Received, "_source", lambda self, oid: SOURCE)
    monkeypatch.setattr(Received, "_submit", lambda self, source: submit(source))

    async def main():
        return b"".join([piece async for piece in received.answered()]).decode()

    return asyncio.run(main())


def raising(error):
    def call(*_, **__):
        raise error

    return call


def test_a_log_goes_on_after_a_failover(monkeypatch):
    said = pushed(monkeypatch, feeds=Feeds(following._TRIES - 1))
    assert [said.count(f"line {number}\n") for number in (1, 2, 3)] == [1, 1, 1]
    assert "ng refs/heads/main the build was cancelled" in said


@pytest.mark.parametrize(
    "fails",
    [
        {"feeds": Feeds(following._TRIES)},
        {"get": raising(StoreError("Redis is away."))},
        {"note": raising(StoreError("Redis is away."))},
        {"submit": raising(error := UnconfirmedError("Accepted."))},
    ],
)
def test_a_build_that_was_accepted_is_never_called_a_failure(monkeypatch, fails):
    error.build_id = "b1"
    said = pushed(monkeypatch, **fails)
    assert "ng refs/heads/main the farm lost sight of build b1, which goes on: buildfarm logs --follow b1" in said
    assert "bug" not in said


def test_what_fails_before_a_build_is_reported_as_it_is(monkeypatch):
    assert "ng refs/heads/main Redis is away." in pushed(monkeypatch, submit=raising(StoreError("Redis is away.")))
    assert "ng refs/heads/main a bug in the farm" in pushed(monkeypatch, submit=raising(KeyError("x")))


def test_refs_that_are_not_kept_are_named_in_part_after_the_slot_is_free(monkeypatch):
    order = []
    monkeypatch.setattr(receiving, "close", lambda room: asyncio.sleep(0, order.append("closed")))
    monkeypatch.setattr(receiving, "_named", lambda refs: order.append("named"))
    pushed(monkeypatch)
    assert order == ["closed", "named"]
    monkeypatch.undo()
    assert "refs/heads/b9 and 10 more\n" in pushed(monkeypatch)


@pytest.mark.parametrize(("most", "each"), [(1, 1), (2, 1), (5, 2)])
def test_a_token_has_at_most_half_of_the_slots(most, each):
    slots = Pushes.of(Settings(git_pushes_max=most)).slots
    with ExitStack() as held:
        for _ in range(each):
            held.enter_context(slots.take("one"))
        with pytest.raises(RefusedError, match="This token"):
            held.enter_context(slots.take("one"))
        if most > 1:
            held.enter_context(slots.take("another"))


def test_what_builds_nothing_takes_a_slot_while_it_is_read():
    pushes = Pushes.of(Settings(git_pushes_max=1))
    farm = SimpleNamespace(settings=Settings(git_push_bytes=10))
    caller = SimpleNamespace(services=SimpleNamespace(farm=farm), token=SimpleNamespace(id="one"))
    used = []

    async def body():
        used.append(pushes.slots.used)
        yield b"pack"

    async def main():
        async with AsyncExitStack() as stack:
            await Received(caller, pushes, "shop", "web").take(Asked(tuple(UPDATES[1:]), (), ()), b"", body(), stack)
            used.append(pushes.slots.used)

    asyncio.run(main())
    assert used == [1, 0]
    with pushes.slots.take("one"), pytest.raises(RefusedError):
        asyncio.run(main())
