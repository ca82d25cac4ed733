"""Old entries of the audit log in the registry: an artifact for each part of a day, and the list of them in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import canonical_json
from buildfarm.store.archive.member import compress, unpacked
from buildfarm.store.archive.shelf import Kind, manifest_of, put_artifact
from buildfarm.store.database import Database
from buildfarm.store.logs import position_of

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

KEPT_SECONDS = 400 * 86_400
REPOSITORY = "audit/days"  # no tenant is charged for it

_KIND = Kind(
    "application/vnd.buildfarm.audit.v1",
    "application/vnd.buildfarm.audit.index.v1+json",
    "application/vnd.buildfarm.audit.entries.v1+gzip",
)
_VERSION = 1
_BYTES_MAX = 1 << 30  # of a part, unpacked
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class KeptEntry:
    """An entry as Redis has it: its position in the stream, its text, and its hash."""

    position: str
    text: str
    hash: str

    @property
    def day(self) -> int:
        """The number of its day, in UTC."""
        return position_of(self.position)[0] // _DAY_MS


@dataclass(frozen=True)
class Part:
    """Entries of one day in the registry, as Redis knows them."""

    manifest: Digest
    blob: Digest
    size_bytes: int
    count: int
    first: str  # position
    last: str
    before: str  # hash of the entry before its first; "-": not known
    head: str  # hash of its last

    def encode(self) -> str:
        """As Redis has it."""
        digests = f"{self.manifest.hex} {self.blob.hex} {self.size_bytes} {self.count}"
        return f"{digests} {self.first} {self.last} {self.before} {self.head}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads what `encode` made, and what a later version added to it."""
        manifest, blob, size, count, first, last, before, head = text.split(" ")[:8]
        digests = Digest(f"sha256:{manifest}"), Digest(f"sha256:{blob}")
        return cls(*digests, int(size), int(count), first, last, before, head)

    @property
    def day(self) -> str:
        """The day of its entries."""
        return datetime.fromtimestamp(position_of(self.first)[0] / 1000, UTC).strftime("%Y-%m-%d")


def packed(entries: Sequence[KeptEntry], before: str) -> tuple[Part, bytes, bytes]:
    """A part of these entries, with its index and its blob; the same for the same entries."""
    lines = [json.dumps([entry.position, entry.hash, entry.text], ensure_ascii=False) for entry in entries]
    blob = compress("\n".join(lines).encode())
    first, last = entries[0], entries[-1]
    bounds = {"first": first.position, "last": last.position, "before": before, "head": last.hash}
    index = canonical_json({"version": _VERSION, "count": len(entries), **bounds})
    manifest = Digest.of(manifest_of(_KIND, index, blob))
    part = Part(manifest, Digest.of(blob), len(blob), len(entries), first.position, last.position, before, last.hash)
    return part, index, blob


def put_part(registry: Registry, entries: Sequence[KeptEntry], before: str) -> Part:
    """Keeps a part under its own tag. Raises RegistryError."""
    part, index, blob = packed(entries, before)
    put_artifact(registry, REPOSITORY, _KIND, index, blob, tag=f"{part.day}-{part.manifest.hex[:16]}")
    return part


def read_part(registry: Registry, part: Part) -> list[KeptEntry]:
    """Its entries, oldest first. Raises RegistryError."""
    content = registry.read_blob(REPOSITORY, part.blob, limit_bytes=part.size_bytes)
    try:
        text = b"".join(unpacked(content, _BYTES_MAX)).decode()
        found = [json.loads(line) for line in text.split("\n")]
        return [KeptEntry(str(position), str(entry), str(digest)) for position, digest, entry in found]
    except (ValueError, TypeError) as error:
        raise RegistryError(f"The audit entries {REPOSITORY}@{part.blob} cannot be read: {error}.") from error


@dataclass(frozen=True)
class AuditParts:
    """The list of parts, and the entries that are not in one yet. Methods raise StoreError."""

    database: Database
    entries_max: int = 5000  # of a part

    def all(self) -> list[Part]:
        """The parts, oldest first."""
        return self._at(0, -1)

    def oldest(self, limit: int) -> list[Part]:
        """The first of them."""
        return self._at(0, limit - 1)

    def next(self, after: str, limit: int) -> tuple[list[Part], list[KeptEntry]]:
        """All parts, and the next entries in Redis after a position, as both are at one moment."""
        return self._look(lambda pipeline: pipeline.xrange(self._stream, min=_start(after), count=limit))

    def newest(self, limit: int) -> tuple[list[Part], list[KeptEntry]]:
        """All parts, and the newest entries that are in none, newest first; both at one moment."""
        parts, found = self._look(lambda pipeline: pipeline.xrevrange(self._stream, count=limit))
        last = position_of(parts[-1].last if parts else "0-0")
        return parts, [entry for entry in found if position_of(entry.position) > last]

    def over(self) -> tuple[Part | None, list[KeptEntry]]:
        """The newest part, and the entries that the next one is made of: of one day, which is over."""
        last = next(iter(self._at(-1, -1)), None)
        after = last.last if last else ""
        today = int(self.database.now() * 1000) // _DAY_MS
        first = self._after(after, 1)
        if not first or first[0].day >= today:
            return last, []
        return last, list(takewhile(lambda entry: entry.day == first[0].day, self._after(after, self.entries_max)))

    def keep(self, part: Part, previous: Part | None) -> bool:
        """The entries of a part leave Redis; False if another node was faster."""
        encoded = previous.encode() if previous else ""
        return bool(self.database.run("audit_kept", [self._stream, self._parts], part.encode(), encoded, part.last))

    def forget(self, part: Part) -> None:
        """Its time is over."""
        with self.database.failures():
            self.database.client.zrem(self._parts, part.encode())

    def _at(self, first: int, last: int) -> list[Part]:
        with self.database.failures():
            found: Any = self.database.client.zrange(self._parts, first, last)
        return [Part.decode(text) for text in found]

    def _look(self, read: Any) -> tuple[list[Part], list[KeptEntry]]:
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=True)
            pipeline.zrange(self._parts, 0, -1)
            read(pipeline)
            parts, entries = pipeline.execute()
        return [Part.decode(text) for text in parts], _decoded(entries)

    def _after(self, after: str, limit: int) -> list[KeptEntry]:
        with self.database.failures():
            found: Any = self.database.client.xrange(self._stream, min=_start(after), count=limit)
        return _decoded(found)

    @property
    def _stream(self) -> str:
        return self.database.key("audit")

    @property
    def _parts(self) -> str:
        return self.database.key("audit", "parts")


def _start(after: str) -> str:
    return f"({after}" if after else "-"


def _decoded(entries: Iterable[tuple[str, dict[str, str]]]) -> list[KeptEntry]:
    return [KeptEntry(position, fields["entry"], fields["hash"]) for position, fields in entries]
