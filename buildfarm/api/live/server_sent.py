"""Server-sent events (WHATWG HTML, section 9.2): a build's log, and the farm's changes of state, as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import islice

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from buildfarm.api.live.feeds import Feed, FeedEntry, Feeds
from buildfarm.api.slots import Slots
from buildfarm.events import LogLine
from buildfarm.model import Build, State
from buildfarm.store.logs import line_now

EVENT_STREAM = "text/event-stream"

_BEAT_SECONDS = 15.0
_WHOLE_LINES = 500  # at once
_AGAIN_MILLISECONDS = 1000
# nginx holds an answer back until its buffers are full, unless this header (of ngx_http_proxy_module) says not to.
_UNBUFFERED = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
_STATUS = ("state", "phase", "attempt", "node")
_FINAL = frozenset(state.value for state in State if state.final)


class LiveStream(StreamingResponse):
    """Events that hold one of the token's live streams until they end or their client leaves."""

    def __init__(self, events: AsyncIterator[bytes], slots: Slots, token_id: str) -> None:
        super().__init__(events, media_type=EVENT_STREAM, headers=_UNBUFFERED)
        self._slots = slots
        self._token_id = token_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends them. Raises RefusedError before the first byte if there is no slot left."""
        with self._slots.take(self._token_id):
            await super().__call__(scope, receive, send)


async def log_events(
    feeds: Feeds, whole: Callable[[str, str], Iterator[LogLine] | None], build: Build, after: str, *, now: bool = False
) -> AsyncIterator[bytes]:
    """The lines after a position, and what becomes of the build, until it has ended and all was sent.

    With ``now`` also the line that is being written, whenever it has changed. ``whole`` gives the log of
    an ended build after a position once it has left Redis.
    """
    if build.state.final and await asyncio.to_thread(whole, build.id, after) is not None:
        yield f"retry: {_AGAIN_MILLISECONDS}\n\n".encode()
        yield _event("build", build.model_dump(mode="json", include=set(_STATUS), exclude_none=True))
        async for lines in _whole(whole, build.id, after):
            yield lines
        yield _event("end", {"state": build.state})
        return
    stream, record = f"build:{build.id}:log", f"build:{build.id}"
    async with feeds.follow(stream, encoded_line, record=record, ended=has_ended) as feed:
        yield f"retry: {_AGAIN_MILLISECONDS}\n\n".encode()
        told: dict[str, str] = {}
        told_line = ""
        async for entries in batches(feed, after):
            status = {name: feed.record[name] for name in _STATUS if name in feed.record}
            if status and status != told:
                told = status
                yield _event("build", status)
            yield b"".join(entry.encoded for entry in entries) if entries else b""
            after = entries[-1].position if entries else after
            if now and (line := line_now(feed.record)) != told_line:
                told_line = line
                yield _event("now", {"text": line})
        async for lines in _whole(whole, build.id, after):
            yield lines
        yield _event("end", {"state": feed.record.get("state", build.state)})


async def _whole(
    whole: Callable[[str, str], Iterator[LogLine] | None], build_id: str, after: str
) -> AsyncIterator[bytes]:
    """The lines of a log that has left Redis; none of another."""
    lines = await asyncio.to_thread(whole, build_id, after)
    while found := await asyncio.to_thread(lambda: list(islice(lines or (), _WHOLE_LINES))):
        yield b"".join(_event("line", line.model_dump(mode="json"), line.position) for line in found)


async def state_events(feeds: Feeds, after: str, visible: Callable[[FeedEntry], bool]) -> AsyncIterator[bytes]:
    """Changes of builds' states after a position, those that the caller may see; it never ends by itself."""
    async with feeds.follow("events", _change) as feed:
        yield f"retry: {_AGAIN_MILLISECONDS}\n\n".encode()
        async for entries in batches(feed, after):
            # A beat has no fields.
            yield b"".join(entry.encoded for entry in entries if not entry.fields or visible(entry))


async def batches(feed: Feed, after: str) -> AsyncIterator[list[FeedEntry]]:
    """What is new, as often as there is; an empty one where only the record changed.

    When nothing was new for a while there is one entry without fields: a sign of life.
    """
    seen = 0  # changes when the caller last looked at the record: more may come while it sends, or while this reads
    while True:
        ended = feed.ended
        entries = await feed.after(after)
        if entries:
            after, seen = entries[-1].position, feed.changes
            yield entries
        elif ended:
            yield []
            return
        elif await feed.change(seen, _BEAT_SECONDS):
            seen = feed.changes
            yield []
        else:
            # A comment, so that nothing on the way takes the connection for dead.
            yield [FeedEntry(after, {}, b": still here\n\n")]


def encoded_line(position: str, fields: Mapping[str, str]) -> bytes:
    """A line of a log as an event; all followers of one build must give this to its feed."""
    line = {"position": position, "attempt": int(fields["a"]), "phase": fields["p"], "text": fields["t"]}
    return _event("line", line, position)


def _change(position: str, fields: Mapping[str, str]) -> bytes:
    return _event("change", fields, position)


def _event(name: str, data: Mapping[str, object], position: str = "") -> bytes:
    identity = f"id: {position}\n" if position else ""
    # In ASCII: many clients split lines also at U+2028, which a build may print.
    return f"{identity}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def has_ended(record: Mapping[str, str]) -> bool:
    """Whether a build with this record writes no more lines."""
    # No record: it expired while it was followed.
    return not record or record.get("state") in _FINAL
