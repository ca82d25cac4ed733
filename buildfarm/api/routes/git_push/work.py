"""Work in a thread while the client waits: signs of life keep the connection, and a client that leaves ends nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Generic, TypeVar

import anyio
from anyio import from_thread

from buildfarm.api.problems import RefusedError

_T = TypeVar("_T")
_BEAT_SECONDS = 5.0  # receive.keepAlive of git-config has the same


class Work(Generic[_T]):
    """A call in a thread of ``threads``, which is waited for in any case: its files must not go before it ends."""

    def __init__(self, call: Callable[[], _T], threads: anyio.CapacityLimiter) -> None:
        self._task = asyncio.ensure_future(anyio.to_thread.run_sync(call, limiter=threads))

    async def beats(self, sign: bytes) -> AsyncGenerator[bytes, None]:
        """A sign every few seconds until the call has ended."""
        try:
            while not self._task.done():
                await asyncio.wait({self._task}, timeout=_BEAT_SECONDS)
                yield b"" if self._task.done() else sign
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._task})
            self._task.exception()  # seen, also if nothing asks for the result later

    def result(self) -> _T:
        """What the call returned. Raises what it raised."""
        return self._task.result()


async def close(room: AsyncExitStack) -> None:
    """Close all of it, also if the client leaves meanwhile."""
    with anyio.CancelScope(shield=True):
        await room.aclose()


async def within(pieces: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[bytes, None]:
    """The pieces that come in this time. Raises RefusedError at the first one after it."""
    deadline = time.monotonic() + seconds
    async for piece in pieces:
        if time.monotonic() > deadline:
            raise RefusedError(
                408, "request.slow", f"The push took longer than {seconds:,.0f} s.",
                advice="Check the connection, or push without history, as on the page about git push.",
            )  # fmt: skip
        yield piece


def in_thread(pieces: AsyncIterator[bytes]) -> Iterator[bytes]:
    """The pieces for a thread of anyio's. Raises what they raise."""

    async def following() -> bytes:
        return await anext(pieces, b"")

    while piece := from_thread.run(following):
        yield piece
