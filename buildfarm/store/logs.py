"""Builds' logs: streams that only the holder of the lease appends to, each with a bound, and their sums with bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from buildfarm.errors import LeaseLost
from buildfarm.events import LogLine
from buildfarm.model import Phase, State
from buildfarm.settings import MIB, Settings
from buildfarm.store.database import Database

if TYPE_CHECKING:
    from buildfarm.store.leases import Lease

START = "0"
TAIL = ":tail"  # a log's newest lines are in a second stream, whose name ends so
NOW = "log_now"  # the field of a record that has the line that is being written
NOW_CHARS_MAX = 500
_SENT_FIELDS = ("log_blobs", "attempt", "place")  # of a record, about logs in the registry
CUT = "log_cut"  # the field of a record that says what is missing of its log

Position = tuple[int, int]
Line = tuple[str, Mapping[str, str]]  # an entry of a stream: its position, and a(ttempt), p(hase) and t(ext)


@dataclass(frozen=True)
class LogBounds:
    """How much of logs is kept, in bytes of text and 64 for each line."""

    head: int = MIB  # the beginning of a log
    tail: int = 3 * MIB  # its newest lines
    tenant: int = 64 * MIB  # all logs of a tenant
    farm: int = 256 * MIB  # all logs
    kept_seconds: float = 7 * 86400  # of an ended build

    @classmethod
    def of(cls, settings: Settings) -> LogBounds:
        """The bounds of these settings."""
        return cls(
            head=settings.log_head_bytes,
            tail=settings.log_tail_bytes,
            tenant=settings.tenant_logs_bytes,
            farm=settings.logs_bytes,
            kept_seconds=settings.record_seconds,
        )

    def encode(self) -> str:
        """As the scripts read them."""
        return json.dumps({"head": self.head, "tail": self.tail, "tenant": self.tenant, "farm": self.farm})


@dataclass(frozen=True)
class Logs:
    """The logs of all builds. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    log_bytes: int
    bounds: LogBounds = field(default_factory=LogBounds)
    look_seconds: float = 1  # `look_after` does its work no more often, whichever node calls it; 0: always
    recount_seconds: int = 60  # and adds sums up anew no more often

    def append(self, lease: Lease, phase: Phase, lines: Sequence[str], batch: int) -> str:
        """Adds lines in their order. ``batch`` grows with each call: one that is sent again adds nothing. LeaseLost.

        Older lines are dropped where the log, its tenant's logs or all logs would grow over their bounds. The answer
        is the first line's position, whose others follow one by one; empty if nothing was added.
        """
        keys = [self.database.key("build", lease.build_id), self._key(lease.build_id), self.database.namespace]
        bounds = self._encoded_bounds
        first = self.database.run("append", keys, lease.fence, phase, self.log_bytes, batch, bounds, *lines)
        if not first:
            raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} can no longer write to the log.")
        return first if isinstance(first, str) else ""

    def expect(self, lease: Lease, node: str) -> None:
        """Notes that a node will send the attempt's whole log to the registry when it has ended. LeaseLost."""
        if not self.database.run("expect_log", [self.database.key("build", lease.build_id)], lease.fence, node):
            raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} can no longer write to the log.")

    def sent(self, build_id: str, attempt: int, digest: str, size_bytes: int) -> None:
        """Notes that an attempt's whole log is in the registry, or with an empty digest that it was lost."""
        keys = [self.database.key("build", build_id), self.database.namespace]
        self.database.run("sent_log", keys, attempt, digest, size_bytes)

    def sent_record(self, build_id: str) -> dict[str, str] | None:
        """What `archive.sent_logs` needs of the record; None if no log of the build was sent."""
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("build", build_id), _SENT_FIELDS)
        fields = {name: text for name, text in zip(_SENT_FIELDS, found, strict=True) if text}
        return {**fields, "id": build_id} if "log_blobs" in fields else None

    def show(self, lease: Lease, text: str) -> None:
        """Replaces the line that is being written, for those who follow. LeaseLost."""
        keys = [self.database.key("build", lease.build_id)]
        if not self.database.run("now", keys, lease.fence, text[:NOW_CHARS_MAX]):
            raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} can no longer write to the log.")

    def now(self, build_id: str) -> str:
        """The line that is being written."""
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("build", build_id), ["state", NOW])
        return line_now({"state": found[0] or "", NOW: found[1] or ""})

    def read(self, build_id: str, after: str = START, *, wait_seconds: float = 0, limit: int = 1000) -> list[LogLine]:
        """Lines after a position; waits for the next one if there is none. Empty when the wait or the build is over.

        Lines that were dropped in between are one line that says so.
        """
        block = int(wait_seconds * 1000) or None
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            self._ask(pipeline, build_id, after, limit, block)
            answer, cut = pipeline.execute()
        return self._found(build_id, after, limit, answer, cut)

    def beginnings(self, build_ids: Sequence[str], limit: int) -> dict[str, list[LogLine]]:
        """The first lines of several logs by build, in one request."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for build_id in build_ids:
                self._ask(pipeline, build_id, START, limit, None)
            answers = pipeline.execute()
        pairs = zip(build_ids, answers[::2], answers[1::2], strict=True)
        return {build_id: self._found(build_id, START, limit, answer, cut) for build_id, answer, cut in pairs}

    def _ask(self, pipeline: Any, build_id: str, after: str, limit: int, block: int | None) -> None:
        head = self._key(build_id)
        places: dict[Any, Any] = {head: after, head + TAIL: after}
        # There for some seconds from the build's end on: who waits then need not wait any longer.
        if block:
            places[self.database.key("build", build_id, "end")] = START
        pipeline.xread(places, count=limit, block=block)
        # Read after the lines were: what was dropped meanwhile is not missed.
        pipeline.hget(self.database.key("build", build_id), CUT)

    def _found(self, build_id: str, after: str, limit: int, answer: Any, cut: str | None) -> list[LogLine]:
        head = self._key(build_id)
        lines, is_all = joined(entries_of(answer, head), entries_of(answer, head + TAIL), limit)
        return _lines_of(marked(after, lines, cut, is_all=is_all))

    def tail(self, build_id: str, limit: int, after: str = START) -> list[LogLine]:
        """The newest lines after a position, the oldest first; what was dropped among them is a line that says so."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for key in (self._key(build_id) + TAIL, self._key(build_id)):
                pipeline.xrevrange(key, min=f"({after}", count=limit)
            pipeline.hget(self.database.key("build", build_id), CUT)
            newest, oldest, cut = pipeline.execute()
        lines: list[Line] = [*newest, *oldest][:limit][::-1]
        before = lines[0][0] if len(lines) == limit else after
        return _lines_of(marked(before, lines, cut, is_all=True)[-limit:])

    def look_after(self) -> tuple[int, int]:
        """Removes logs whose time is over and keeps the sums right; for any node to call, again and again.

        Returns how many logs were removed, and by how many bytes the sums were wrong.
        """
        keys, kept_seconds = [self.database.namespace], self.bounds.kept_seconds
        removed, wrong = self.database.run(
            "logs", keys, self._encoded_bounds, kept_seconds, self.look_seconds, self.recount_seconds
        )
        return int(removed), int(wrong)

    def kept_bytes(self) -> tuple[int, int]:
        """What all logs have now, and what was ever dropped of them for want of room."""
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("logs"), ["*", "*dropped"])
        kept, dropped = (int(number or 0) for number in found)
        return kept, dropped

    @cached_property
    def _encoded_bounds(self) -> str:
        return self.bounds.encode()

    def _key(self, build_id: str) -> str:
        return self.database.key("build", build_id, "log")


def _lines_of(entries: Sequence[Line]) -> list[LogLine]:
    return [
        LogLine(position=position, attempt=int(fields["a"]), phase=Phase(fields["p"]), text=fields["t"])
        for position, fields in entries
    ]


def line_now(record: Mapping[str, str]) -> str:
    """The line that a build is writing, by its record; empty if it does not run."""
    return record.get(NOW, "") if record.get("state") == State.RUNNING else ""


def position_of(text: str) -> Position:
    """A stream position as something to compare: milliseconds and number. Raises ValueError if it is none."""
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)


def entries_of(answer: Any, stream: str) -> list[Line]:
    """The entries of one stream in an answer to XREAD."""
    # redis-py answers with a list or a mapping, by version of the protocol.
    found = dict(answer or ()).get(stream) or []
    if found and isinstance(found[0][0], (list, tuple)):
        found = [entry for group in found for entry in group]
    return list(found)


def joined(head: list[Line], tail: list[Line], limit: int) -> tuple[list[Line], bool]:
    """The next lines of both streams of a log, each read with this limit; and whether there were no more."""
    if len(head) >= limit:
        return head, False
    return head + tail, len(tail) < limit


def marked(after: str, lines: list[Line], cut: str | None, *, is_all: bool) -> list[Line]:
    """Lines read after a position, with one more in the place of those that are missing among them.

    ``cut`` is the record's field, read after the lines. ``is_all`` says that no more lines came after these.
    """
    if not cut:
        return lines
    start, end, count, attempt, phase = cut.split(" ")
    at = next((index for index, (position, _) in enumerate(lines) if position_of(position) > position_of(end)), None)
    if at is None:
        if not is_all:
            return lines
        at = len(lines)
    before = lines[at - 1][0] if at else after
    if position_of(before) >= position_of(end):
        return lines
    # Who was already among the missing lines lacks fewer of them.
    lacks = f"{int(count):,} lines are" if position_of(before) <= position_of(start) else "Lines are"
    text = f"[{lacks} missing here: they were dropped to keep logs within their bounds]"
    return [*lines[:at], (end, {"a": attempt, "p": phase, "t": text}), *lines[at:]]
