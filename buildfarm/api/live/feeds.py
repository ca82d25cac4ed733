"""Streams in Redis for many followers at once: each stream is read once, however many follow it.

A feed keeps the newest entries. A follower takes what it lacks from them, and reads older ones from Redis itself: one
that is slow, or comes back after a cut, costs the others nothing and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from buildfarm.queue.redis_address import parse_redis
from buildfarm.settings import Settings
from buildfarm.store.logs import CUT, TAIL, Line, Position, entries_of, joined, marked, position_of
from buildfarm.telemetry import logger

_KEPT_ENTRIES = 2000
_KEPT_BYTES = 1024 * 1024
_SENT_BYTES = 128 * 1024  # at once; what a follower that does not read makes this process hold
# One for each feed, and for a moment one for each follower that catches up; the client's own limit of 100 cut 200 off.
_CONNECTIONS_MAX = 10_000
_PAGE = 500
_CATCH_UP = 50  # entries at once for a single follower; a line may have 4,000 characters
_BLOCK_MILLISECONDS = 500
_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class FeedEntry:
    """One entry of a stream; ``encoded`` is what every follower is sent of it, made once."""

    position: str
    fields: Mapping[str, str]
    encoded: bytes

    @property
    def order(self) -> Position:
        return position_of(self.position)


Encode = Callable[[str, Mapping[str, str]], bytes]


class Feed:
    """The new entries of one stream, and the fields of one record beside it, for all who follow.

    With a record it is a log: two streams, the beginning and the newest lines, and a mark where lines are missing.
    """

    def __init__(
        self, client: redis.asyncio.Redis, stream: str, record: str, ended: Callable[[Any], bool], encode: Encode
    ):
        self.record: dict[str, str] = {}
        self.ended = False
        self.followers = 0
        self.changes = 0  # so many times there was something new
        self._client = client
        self._stream, self._record_key, self._is_final = stream, record, ended
        self._tail = stream + TAIL if record else ""
        self._encode = encode
        self._entries: deque[FeedEntry] = deque()
        self._entries_bytes = 0
        self._from: Position | None = None  # every entry after this one is in `_entries`, or still to come
        self._changed = asyncio.Event()

    async def after(self, position: str) -> list[FeedEntry]:
        """The next entries after this position; empty if there are none yet. Raises redis.RedisError."""
        order = position_of(position)
        if self._from is not None and order >= self._from:
            return _first_of(entry for entry in self._entries if entry.order > order)
        head: Any = await self._client.xrange(self._stream, min=f"({position}", count=_CATCH_UP)
        tail: Any = await self._client.xrange(self._tail, min=f"({position}", count=_CATCH_UP) if self._tail else []
        return _first_of(self._entries_of(await self._marked(position, head, tail, _CATCH_UP)))

    async def change(self, seen: int, seconds: float) -> bool:
        """Waits until there were more than ``seen`` changes; False if none came. After the end it does not wait."""
        changed = self._changed
        if self.ended or self.changes != seen:
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)
        return changed.is_set()

    async def run(self) -> None:
        """Reads until the record is final and the stream is at its end, or it is cancelled."""
        while not self.ended:
            try:
                await self._step()
            except (redis.RedisError, OSError) as error:
                logger().warning("feed_waits", stream=self._stream, reason=type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _step(self) -> None:
        if self._from is None:
            self._from = position_of(await self._newest())
        record: Any = await self._client.hgetall(self._record_key) if self._record_key else {}
        # The process that ended the build wrote its last line before: no more lines can follow.
        final = self._is_final(record)
        last = self._entries[-1].position if self._entries else f"{self._from[0]}-{self._from[1]}"
        streams: Any = {stream: last for stream in (self._stream, self._tail) if stream}
        answer: Any = await self._client.xread(streams, count=_PAGE, block=None if final else _BLOCK_MILLISECONDS)
        head, tail = entries_of(answer, self._stream), entries_of(answer, self._tail)
        found = await self._marked(last, head, tail, _PAGE)
        self._keep(self._entries_of(found))
        self.ended = final and not found
        if found or self.ended or record != self.record:
            self.record = record
            self.changes += 1
            self._changed.set()
            self._changed = asyncio.Event()

    def _keep(self, entries: list[FeedEntry]) -> None:
        self._entries.extend(entries)
        self._entries_bytes += sum(len(entry.encoded) for entry in entries)
        while len(self._entries) > _KEPT_ENTRIES or self._entries_bytes > _KEPT_BYTES:
            dropped = self._entries.popleft()
            self._from = dropped.order
            self._entries_bytes -= len(dropped.encoded)

    async def _newest(self) -> str:
        for stream in (self._tail, self._stream):
            newest: Any = await self._client.xrevrange(stream, count=1) if stream else []
            if newest:
                return str(newest[0][0])
        return "0"

    async def _marked(self, after: str, head: list[Line], tail: list[Line], limit: int) -> list[Line]:
        lines, is_all = joined(head, tail, limit)
        # Read after the lines were: what was dropped meanwhile is not missed.
        cut: Any = await self._client.hget(self._record_key, CUT) if self._tail else None
        return marked(after, lines, cut, is_all=is_all)

    def _entries_of(self, lines: list[Line]) -> list[FeedEntry]:
        return [FeedEntry(position, fields, self._encode(position, fields)) for position, fields in lines]


def _first_of(entries: Iterable[FeedEntry]) -> list[FeedEntry]:
    """The first of these, up to a bounded number of bytes; at least one if there is any."""
    chosen: list[FeedEntry] = []
    size_bytes = 0
    for entry in entries:
        size_bytes += len(entry.encoded)
        if chosen and size_bytes > _SENT_BYTES:
            break
        chosen.append(entry)
    return chosen


class Feeds:
    """All feeds of this process; each lives as long as it has a follower."""

    def __init__(self, settings: Settings) -> None:
        self._namespace = settings.namespace
        # No time limit on a read: it would end the wait for an entry.
        where = parse_redis(settings.redis_url.get_secret_value(), settings.redis_ca)
        options: dict[str, Any] = {
            "decode_responses": True,
            "socket_connect_timeout": 5,
            "health_check_interval": 15,
            **where.tls_options,
        }
        if where.master:
            make_sentinel: Any = redis.asyncio.Sentinel  # it has no annotations
            sentinel = make_sentinel(where.hosts, sentinel_kwargs=where.sentinel_options, ssl=where.tls, **options)
            self._client = sentinel.master_for(where.master, db=where.database, **where.credentials)
        else:
            self._client = redis.asyncio.Redis.from_url(where.url, max_connections=_CONNECTIONS_MAX, **options)
        self._feeds: dict[str, tuple[Feed, asyncio.Task[None]]] = {}

    @property
    def followers(self) -> int:
        """How many follow something now."""
        return sum(feed.followers for feed, _ in self._feeds.values())

    @asynccontextmanager
    async def follow(
        self, stream: str, encode: Encode, *, record: str = "", ended: Callable[[Any], bool] = lambda record: False
    ) -> AsyncIterator[Feed]:
        """The feed of a stream, named without the namespace, for the length of the block."""
        if stream not in self._feeds or self._feeds[stream][1].done():
            key = self._namespace + stream
            feed = Feed(self._client, key, self._namespace + record if record else "", ended, encode)
            self._feeds[stream] = feed, asyncio.create_task(feed.run(), name=f"feed {stream}")
        feed, task = self._feeds[stream]
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                task.cancel()
                if self._feeds.get(stream, (None,))[0] is feed:
                    del self._feeds[stream]

    async def close(self) -> None:
        """Ends all feeds."""
        for _, task in list(self._feeds.values()):
            task.cancel()
        await self._client.aclose()
