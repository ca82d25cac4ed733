"""Names in a repository's index: what git tracks (gitformat-index(5), versions 2 to 4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_FILE_BYTES_MAX = 512 * 1024 * 1024
_HEADER = struct.Struct(">4sII")
_EXTENSION = struct.Struct(">4sI")
# Of an entry, the stat data (the mode is its seventh field) comes before the object id, and the flags after it.
_STAT = struct.Struct(">10I")
_FLAGS = struct.Struct(">H")
_LONG_NAME = 0xFFF
_NAME_BYTES_MAX = 64 * 1024  # far more than any file system has; a few bytes of a version 4 could repeat a long name
_EXTENDED = 0x4000
_FOLDER_KIND, _SUBMODULE_KIND = 0o04, 0o16


@dataclass(frozen=True)
class Index:
    """What a repository tracks."""

    files: frozenset[bytes] = frozenset()
    submodules: frozenset[bytes] = frozenset()


class _Entry(NamedTuple):
    name: bytes
    kind: int
    end: int


def read_index(path: Path, *, id_bytes: int) -> Index:
    """The index in this file, with object ids of so many bytes; an empty one if it cannot be read.

    Of a split index the list of deletions is not read: what was deleted since the split counts as tracked.
    """
    entries: list[_Entry] = []
    try:
        shared = _read(path, id_bytes, entries)
        if shared:
            _read(path.with_name(f"sharedindex.{shared}"), id_bytes, entries)
    except (OSError, ValueError, IndexError, struct.error):
        return Index()
    # A sparse index has folders, with nothing of them on the disk.
    kinds = {entry.name: entry.kind for entry in entries if entry.name and entry.kind != _FOLDER_KIND}
    submodules = frozenset(name for name, kind in kinds.items() if kind == _SUBMODULE_KIND)
    return Index(frozenset(kinds) - submodules, submodules)


def _read(path: Path, id_bytes: int, entries: list[_Entry]) -> str:
    """Adds the entries of one file, and returns the hexadecimal id of the shared index that it is based on."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX)
    signature, version, count = _HEADER.unpack_from(content)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("not an index that git 2 writes")
    found = list(_entries(content, version, count, id_bytes))
    entries += found
    return _shared(content, found[-1].end if found else _HEADER.size, id_bytes)


def _entries(content: bytes, version: int, count: int, id_bytes: int) -> Iterator[_Entry]:
    at, name = _HEADER.size, b""
    for _ in range(count):
        kind = _STAT.unpack_from(content, at)[6] >> 12
        (flags,) = _FLAGS.unpack_from(content, at + _STAT.size + id_bytes)
        begin = at + _STAT.size + id_bytes + _FLAGS.size
        if flags & _EXTENDED:
            begin += _FLAGS.size
        if version == 4:  # a name is what it shares with the one before, and the rest
            dropped, begin = _number(content, begin)
            end = content.index(b"\0", begin)
            name = name[: len(name) - dropped] + content[begin:end]
            at = end + 1
        else:
            length = flags & _LONG_NAME
            end = content.index(b"\0", begin) if length == _LONG_NAME else begin + length
            name = content[begin:end]
            at += (end - at + 8) // 8 * 8  # one to eight NULs
        if len(name) > _NAME_BYTES_MAX:
            raise ValueError("a name that no file can have")
        yield _Entry(name, kind, at)


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of variable length (varint.c), and where it ends."""
    value = content[at] & 0x7F
    while content[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (content[at] & 0x7F)
    return value, at + 1


def _shared(content: bytes, at: int, id_bytes: int) -> str:
    while at < len(content) - id_bytes:
        name, size = _EXTENSION.unpack_from(content, at)
        at += _EXTENSION.size
        if name == b"link":
            shared = content[at : at + id_bytes]
            return shared.hex() if any(shared) else ""
        at += size
    return ""
