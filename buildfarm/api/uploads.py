"""Uploads: separate threads and a bounded number of them, and a time limit on what the client sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import anyio
from fastapi import Request
from starlette.types import Message, Receive

from buildfarm.api.problems import RefusedError
from buildfarm.api.slots import Slots
from buildfarm.settings import Settings

_T = TypeVar("_T")
_CHUNK_BYTES = 64 * 1024


class Uploads:
    """The uploads of this process. A slow client occupies an upload's slot and thread, and nothing else."""

    def __init__(self, settings: Settings) -> None:
        self.slots = Slots("uploads", total_max=settings.api_uploads_max, token_max=settings.api_token_uploads_max)
        self._threads = anyio.CapacityLimiter(settings.api_uploads_max)
        self._chunk_seconds = settings.api_chunk_seconds

    def bounded(self, request: Request) -> Request:
        """The same request, whose body raises RefusedError if its client stalls or sends too slowly."""
        return Request(request.scope, Patience(request.receive, self._chunk_seconds))

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` in a thread that only uploads use."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


class Patience:
    """An ASGI ``receive`` that waits for each 64 KiB of a body for a limited time.

    Only the time spent waiting for the client counts: a slow registry is not the client's fault. A single byte does
    not start the time anew, or a client could hold its slot for days.
    """

    def __init__(self, receive: Receive, chunk_seconds: float) -> None:
        self._receive = receive
        self._chunk_seconds = self._left_seconds = chunk_seconds
        self._chunk_bytes = 0

    async def __call__(self) -> Message:
        """The next message. Raises RefusedError if it comes too late."""
        started = time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), self._left_seconds)
        except TimeoutError as error:
            raise too_slow(self._chunk_seconds) from error
        self._left_seconds -= time.monotonic() - started
        self._chunk_bytes += len(message.get("body", b""))
        if self._chunk_bytes >= _CHUNK_BYTES:
            self._chunk_bytes, self._left_seconds = 0, self._chunk_seconds
        return message


def too_slow(seconds: float) -> RefusedError:
    """The refusal of a body that its client does not send."""
    return RefusedError(
        408, "request.slow", f"The client sent less than 64 KiB of the body in {seconds:g} s.",
        advice="Check the connection, then send it again.",
    )  # fmt: skip
