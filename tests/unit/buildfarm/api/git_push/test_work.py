"""Work in a thread while a client waits."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, aclosing, suppress

import anyio
import pytest

from buildfarm.api.problems import RefusedError
from buildfarm.api.routes.git_push import work as module
from buildfarm.api.routes.git_push.work import Work, close, in_thread, within


def test_there_is_a_sign_of_life_until_the_work_has_ended(monkeypatch):
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.01)
    go = threading.Event()

    async def main():
        work = Work(lambda: go.wait(10), anyio.CapacityLimiter(1))
        seen = []
        async for beat in work.beats(b"alive"):
            seen.append(beat)
            if len(seen) == 3:
                go.set()
        return seen, work.result()

    seen, result = asyncio.run(main())
    assert seen[:3] == [b"alive"] * 3
    assert result is True


def test_a_client_that_leaves_waits_for_the_end_of_the_work():
    started, go, done = threading.Event(), threading.Event(), []

    def call():
        started.set()
        done.append(go.wait(10))
        raise ValueError("nobody asks for it")

    async def main():
        work = Work(call, anyio.CapacityLimiter(1))
        async with aclosing(work.beats(b"")) as beats:
            beat = asyncio.ensure_future(anext(beats))
            await asyncio.to_thread(started.wait)
            beat.cancel()
            asyncio.get_running_loop().call_later(0.05, go.set)
            with suppress(asyncio.CancelledError):
                await beat
        return list(done)

    assert asyncio.run(main()) == [True]


def test_pieces_of_a_body_reach_a_thread_and_so_do_its_errors():
    async def body():
        yield b"a"
        yield b"b"
        raise ConnectionError("gone")

    async def main(taken):
        def call():
            for piece in in_thread(pieces):
                taken.append(piece)

        pieces = body()
        await anyio.to_thread.run_sync(call)

    taken = []
    with pytest.raises(ConnectionError):
        asyncio.run(main(taken))
    assert taken == [b"a", b"b"]


def test_a_client_that_leaves_while_its_things_are_closed_leaves_nothing():
    started, go, done = threading.Event(), threading.Event(), []

    def slow():
        started.set()
        done.append(go.wait(10))

    async def main():
        room = AsyncExitStack()
        room.push_async_callback(anyio.to_thread.run_sync, lambda: done.append("removed"))
        room.push_async_callback(anyio.to_thread.run_sync, slow)
        async with anyio.create_task_group() as group:
            group.start_soon(close, room)
            await asyncio.to_thread(started.wait)
            group.cancel_scope.cancel()
            go.set()

    asyncio.run(main())
    assert done == [True, "removed"]


def test_a_body_has_a_time_limit_as_a_whole():
    async def body():
        yield b"a"
        yield b"b"

    async def all_of(seconds):
        return [piece async for piece in within(body(), seconds)]

    assert asyncio.run(all_of(60)) == [b"a", b"b"]
    with pytest.raises(RefusedError, match="longer than") as error:
        asyncio.run(all_of(-1))
    assert error.value.advice
