"""A pack: ended builds of one app, as an index with their records and a blob of their logs. Nothing here does I/O.

The index is gzip-compressed. Its first line has what lists need of each build, and each line after it one build's
record, which is decoded when it is asked for: a page shows 50 of 256. Each log is a separate gzip member, which the
index finds by offset and size, so that one log is read without the others, and packs are joined without unpacking any.
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

VERSION = 2  # of an index; version 1 was a single JSON object with all records, and is still read
INDEX_BYTES_MAX = 32 * 1024 * 1024  # unpacked

Position = tuple[float, str]  # of a build in a list: when it was submitted, and its id


@dataclass(frozen=True)
class Row:
    """One build: its record as Redis had it, and where its log is; ``size`` 0 if it printed nothing."""

    id: str
    submitted_at: float
    state: str
    encoded: bytes  # the record, as JSON
    offset: int = 0
    size: int = 0

    @classmethod
    def of(cls, record: Mapping[str, str], offset: int, size: int) -> Row:
        """A build by its record."""
        submitted_at, encoded = float(record["submitted_at"]), canonical_json(dict(record))
        return cls(record["id"], submitted_at, record.get("state", ""), encoded, offset, size)

    @property
    def record(self) -> dict[str, str]:
        """The whole record. Raises ValueError if it is none."""
        found = json.loads(self.encoded)
        if not isinstance(found, dict):
            raise ValueError(f"the record of build {self.id} in it is not one")  # noqa: TRY004 - it was read
        return {str(name): str(value) for name, value in found.items()}

    @property
    def position(self) -> Position:
        """Its place in lists."""
        return self.submitted_at, self.id


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
        builds = [[row.id, row.submitted_at, row.state, row.offset, row.size] for row in self.rows]
        data = {"digest": self.data, "size": self.data_bytes}
        head = canonical_json({"version": VERSION, "data": data, "builds": builds})
        return compress(b"\n".join([head, *(row.encoded for row in self.rows)]))

    @classmethod
    def decode(cls, content: bytes) -> Index:
        """Reads what `encode` made. Raises ValueError if it is anything else, or of a later version."""
        head, *records = b"".join(unpacked(content, INDEX_BYTES_MAX)).split(b"\n")
        try:
            return cls._decode(json.loads(head), records)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is not the index of a pack ({type(error).__name__})") from error

    @classmethod
    def _decode(cls, found: Mapping[str, object], records: Sequence[bytes]) -> Index:
        if found["version"] not in (1, VERSION):
            raise ValueError(f"it is of version {found['version']!r}, and this process reads version {VERSION}")
        data, builds = found["data"], found["builds"]
        if not isinstance(data, dict) or not isinstance(builds, list):
            raise ValueError("it is not the index of a pack")  # noqa: TRY004 - what was read is wrong, not our types
        if found["version"] == 1:
            rows = [Row.of(build["record"], int(build["offset"]), int(build["size"])) for build in builds]
        else:
            rows = [_row(build, record) for build, record in zip(builds, records, strict=True)]
        if not all(_is_within(row, int(data["size"])) for row in rows):
            raise ValueError("a build in it has no time, or is not within its logs")
        return cls(tuple(rows), Digest(str(data["digest"])), int(data["size"]))


def make(builds: Iterable[tuple[Mapping[str, str], bytes]]) -> Pack:
    """A pack of records and logs, the latter as `log_text.encode_log` makes them or empty."""
    return _arranged([(Row.of(record, 0, len(log)), log) for record, log in builds])


def join(packs: Sequence[Pack]) -> Pack:
    """One pack of all builds in these; of a build that is in several of them, the last one's."""
    return _arranged([(row, pack.data[row.offset : row.offset + row.size]) for pack in packs for row in pack.rows])


def _arranged(found: Sequence[tuple[Row, bytes]]) -> Pack:
    latest = {row.id: (row, log) for row, log in found}
    ordered = sorted(latest.values(), key=lambda pair: pair[0].position)
    offsets = accumulate((len(log) for _, log in ordered), initial=0)
    rows = tuple(replace(row, offset=offset) for (row, _), offset in zip(ordered, offsets, strict=False))
    return Pack(rows, b"".join(log for _, log in ordered))


def _row(fields: Sequence[object], record: bytes) -> Row:
    build_id, submitted_at, state, offset, size = map(str, fields)
    return Row(build_id, float(submitted_at), state, record, int(offset), int(size))


def _is_within(row: Row, data_bytes: int) -> bool:
    return math.isfinite(row.submitted_at) and 0 <= row.offset <= row.offset + row.size <= data_bytes
