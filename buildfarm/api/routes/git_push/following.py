"""A build's log as `remote:` lines, and what its end means for the pushed ref."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from buildfarm.api.live.feeds import Feeds
from buildfarm.api.live.server_sent import batches, encoded_line, has_ended
from buildfarm.api.routes.git_push.answer import Answer
from buildfarm.model import Build, Fault, State


async def follow(feeds: Feeds, build: Build, answer: Answer) -> AsyncGenerator[bytes, None]:
    """The lines of the log as they come, and a sign of life when none has come for a while, until the build has ended.

    A log that has left Redis is not sent: it takes an hour.
    """

    stream, record = f"build:{build.id}:log", f"build:{build.id}"
    async with feeds.follow(stream, encoded_line, record=record, ended=has_ended) as feed:
        async for entries in batches(feed, "0"):
            for entry in entries:
                yield answer.say(entry.fields["t"]) if entry.fields else answer.keep_alive()


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
