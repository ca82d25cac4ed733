"""Whole logs in the registry, as nodes send them when a large one has ended; they go into a pack later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildfarm.events import LogLine
from buildfarm.oci.digest import Digest
from buildfarm.store.archive.log_text import decode_log, encode_log
from buildfarm.store.archive.shelf import repository_of
from buildfarm.store.logs import Logs

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_LOGS = "logs/"
LINES = 1000  # at once


@dataclass(frozen=True)
class SentLog:
    """The log of one attempt, as `log_text.encode_log` makes it."""

    attempt: int
    digest: Digest
    size_bytes: int


def repository_of_logs(place: str) -> str:
    """Where the logs of a tenant/app are until they are in a pack: apart from packs, whose blobs are kept longer."""
    return _LOGS + repository_of(place).partition("/")[2]


def sent_of(record: Mapping[str, str | None]) -> dict[int, SentLog]:
    """What a record says was sent, by attempt. Raises ValueError."""
    found = {}
    for text in (record.get("log_blobs") or "").split():
        attempt, _, rest = text.partition(":")
        digest, _, size = rest.rpartition(":")
        found[int(attempt)] = SentLog(int(attempt), Digest(digest), int(size))
    return found


@dataclass(frozen=True)
class SentLogs:
    """The logs of ended builds that are not archived yet. Methods raise StoreError and RegistryError."""

    streams: Logs
    registry: Registry
    begun: Mapping[str, Sequence[LogLine]] = field(default_factory=dict)  # by build: its first lines, if they are known

    def content(self, record: Mapping[str, str]) -> bytes:
        """A build's whole log as `log_text.encode_log` makes it, out of the registry, Redis or both."""
        sent = sent_of(record)
        if record.get("attempt") == "1" and 1 in sent:
            return self._read(record, sent[1])
        return encode_log(self.lines(record))

    def lines(self, record: Mapping[str, str]) -> Iterator[LogLine]:
        """The same as lines. Raises ValueError if one is damaged."""
        sent = sent_of(record)
        if not sent:
            yield from self._live(record["id"])
            return
        for attempt in range(1, int(record.get("attempt") or 0) + 1):
            if attempt in sent:
                yield from decode_log(self._read(record, sent[attempt]))
            else:
                yield from (line for line in self._live(record["id"]) if line.attempt == attempt)

    def _read(self, record: Mapping[str, str], sent: SentLog) -> bytes:
        place = "/".join(record["place"].split(" ")[:2])
        return self.registry.read_blob(repository_of_logs(place), sent.digest, limit_bytes=sent.size_bytes)

    def _live(self, build_id: str) -> Iterator[LogLine]:
        lines = self.begun.get(build_id) or self.streams.read(build_id, limit=LINES)
        while lines:
            yield from lines
            if len(lines) < LINES:
                return
            lines = self.streams.read(build_id, lines[-1].position, limit=LINES)
