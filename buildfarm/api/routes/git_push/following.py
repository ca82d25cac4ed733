"""A build's log as `remote:` lines, and what its end means for the pushed ref."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import anyio
import redis

from buildfarm.api.live.feeds import Feeds
from buildfarm.api.live.server_sent import batches, encoded_line, has_ended
from buildfarm.api.routes.git_push.answer import Answer
from buildfarm.errors import RegistryError, StoreError
from buildfarm.model import Build, Fault, State

_AGAIN_SECONDS = 5.0
_TRIES = 10  # a failover of Redis takes less


async def follow(feeds: Feeds, build: Build, answer: Answer) -> AsyncGenerator[bytes, None]:
    """The lines of the log as they come, and a sign of life when none has come for a while, until the build has ended.

    A log that has left Redis is not sent: it takes an hour. Raises redis.RedisError if Redis stays away.
    """

    stream, record = f"build:{build.id}:log", f"build:{build.id}"
    after, left = "0", _TRIES
    while True:
        try:
            async with feeds.follow(stream, encoded_line, record=record, ended=has_ended) as feed:
                async for entries in batches(feed, after):
                    left = _TRIES
                    for entry in entries:
                        yield answer.say(entry.fields["t"]) if entry.fields else answer.keep_alive()
                        after = entry.position
        except redis.RedisError:
            left -= 1
            if not left:
                raise
        else:
            return
        yield answer.keep_alive()
        await asyncio.sleep(_AGAIN_SECONDS)


async def ended(get: Callable[[str], Build], build_id: str) -> Build:
    """The build after its end. Raises StoreError and RegistryError if they come again and again."""
    for left in range(_TRIES, 0, -1):
        try:
            return await anyio.to_thread.run_sync(get, build_id)
        except (StoreError, RegistryError):
            if left == 1:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)
    raise AssertionError("the last try returns or raises")


def verdict(build: Build) -> str:
    """Why the ref is refused; empty if its build succeeded."""
    if build.state is State.SUCCEEDED:
        return ""
    if build.state is State.SUPERSEDED:
        return f"a newer build took its place: {build.superseded_by or 'unknown'}"
    if build.state is State.CANCELLED:
        return "the build was cancelled"
    if build.failure is None:
        return f"the build is {build.state}"
    whose = "the farm could not build it" if build.failure.fault is Fault.FARM else "the build failed"
    return f"{whose}: {build.failure.message}"
