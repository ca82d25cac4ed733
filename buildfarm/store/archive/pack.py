"""A pack: ended builds of one app, as an index with their records and a blob of their logs. Nothing here does I/O.

The index is gzip-compressed JSON. Each log is a separate gzip member, which the index finds by offset and
size, so that one log is read without the others, and packs are joined without unpacking any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import canonical_json
from buildfarm.store.archive.member import compress, unpacked

VERSION = 1
INDEX_BYTES_MAX = 32 * 1024 * 1024  # unpacked

Position = tuple[float, str]  # of a build in a list: when it was submitted, and its id


@dataclass(frozen=True)
class Row:
    """One build: its record as Redis had it, and where its log is; ``size`` 0 if it printed nothing."""

    record: Mapping[str, str]
    offset: int = 0
    size: int = 0

    @property
    def id(self) -> str:
        """The build's id."""
        return self.record["id"]

    @property
    def position(self) -> Position:
        """Its place in lists."""
        return float(self.record["submitted_at"]), self.id


@dataclass(frozen=True)
class Pack:
    """Builds in the order in which they were submitted, and their logs one after the other."""

    rows: tuple[Row, ...]
    data: bytes


@dataclass(frozen=True)
class Index:
    """What is read of a pack to list its builds and to find their logs."""

    rows: tuple[Row, ...]
    data: Digest
    data_bytes: int

    @classmethod
    def of(cls, pack: Pack) -> Index:
        """The index of a pack."""
        return cls(pack.rows, Digest.of(pack.data), len(pack.data))

    def encode(self) -> bytes:
        """As the registry keeps it; equal packs have equal bytes."""
        builds = [{"offset": row.offset, "size": row.size, "record": dict(row.record)} for row in self.rows]
        data = {"digest": self.data, "size": self.data_bytes}
        return compress(canonical_json({"version": VERSION, "data": data, "builds": builds}))

    @classmethod
    def decode(cls, content: bytes) -> Index:
        """Reads what `encode` made. Raises ValueError if it is anything else, or of a later version."""
        try:
            return cls._decode(json.loads(b"".join(unpacked(content, INDEX_BYTES_MAX))))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is not the index of a pack ({type(error).__name__})") from error

    @classmethod
    def _decode(cls, found: Mapping[str, object]) -> Index:
        if found["version"] != VERSION:
            raise ValueError(f"it is of version {found['version']!r}, and this process reads version {VERSION}")
        data, builds = found["data"], found["builds"]
        if not isinstance(data, dict) or not isinstance(builds, list):
            raise ValueError("it is not the index of a pack")  # noqa: TRY004 - what was read is wrong, not our types
        rows = tuple(_row(build, int(data["size"])) for build in builds)
        return cls(rows, Digest(str(data["digest"])), int(data["size"]))


def make(builds: Iterable[tuple[Mapping[str, str], bytes]]) -> Pack:
    """A pack of records and logs, the latter as `log_text.encode_log` makes them or empty."""
    return _arranged([(Row(dict(record), 0, len(log)), log) for record, log in builds])


def join(packs: Sequence[Pack]) -> Pack:
    """One pack of all builds in these; of a build that is in several of them, the last one's."""
    return _arranged([(row, pack.data[row.offset : row.offset + row.size]) for pack in packs for row in pack.rows])


def _arranged(found: Sequence[tuple[Row, bytes]]) -> Pack:
    latest = {row.id: (row, log) for row, log in found}
    ordered = sorted(latest.values(), key=lambda pair: pair[0].position)
    offsets = accumulate((len(log) for _, log in ordered), initial=0)
    rows = tuple(replace(row, offset=offset) for (row, _), offset in zip(ordered, offsets, strict=False))
    return Pack(rows, b"".join(log for _, log in ordered))


def _row(found: Mapping[str, object], data_bytes: int) -> Row:
    record, offset, size = found["record"], int(str(found["offset"])), int(str(found["size"]))
    if not isinstance(record, dict) or not 0 <= offset <= offset + size <= data_bytes:
        raise ValueError("a build in it is not within its logs")
    row = Row({str(name): str(value) for name, value in record.items()}, offset, size)
    if not math.isfinite(row.position[0]):
        raise ValueError("a build in it has no time")
    return row
