"""The smallest shared library that names itself and what it needs. Linkers can read it; it has no code."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_HEADER_BYTES, _SEGMENT_BYTES = 64, 56
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _STRSZ, _SONAME = 1, 5, 10, 14


def library(soname: str = "", needed: Sequence[str] = ()) -> bytes:
    """An ELF file of x86-64 (System V ABI, chapter 4) with a DT_SONAME and a DT_NEEDED for each library."""
    names = b"\0"
    entries = []
    for kind, name in [*((_NEEDED, name) for name in needed), *([(_SONAME, soname)] if soname else [])]:
        entries.append((kind, len(names)))
        names += name.encode() + b"\0"
    strings_at = _HEADER_BYTES + 2 * _SEGMENT_BYTES
    dynamic_at = strings_at + len(names)
    entries += [(_STRTAB, strings_at), (_STRSZ, len(names)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, _HEADER_BYTES, 0, 0, _HEADER_BYTES, _SEGMENT_BYTES, 2, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", _LOAD, 4, 0, 0, 0, size, size, 4096)
    described = struct.pack(
        "<IIQQQQQQ", _DYNAMIC, 4, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8
    )  # fmt: skip
    return header + load + described + names + dynamic
