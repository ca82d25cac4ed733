"""Whether a system could load an ELF file: it cannot if parts are cut off, or were taken out for debuggers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import IO

_EXECUTABLE, _SHARED = 2, 3
_LOAD, _DYNAMIC = 1, 2


def is_loadable(file: IO[bytes]) -> bool:
    """Whether it is a program or a shared library with all bytes of its segments.

    A file with debugging information alone has the program headers of the file that it was made from, but no bytes for
    them. Source: System V ABI, chapters 4 and 5.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(64)
    if len(header) < 64 or header[4] not in (1, 2) or header[5] not in (1, 2):
        return False
    order = "<" if header[5] == 1 else ">"
    if struct.unpack_from(f"{order}H", header, 16)[0] not in (_EXECUTABLE, _SHARED):
        return False
    return all(
        offset + in_file <= size and (kind == _LOAD or in_file > 0 or not in_memory)
        for kind, offset, in_file, in_memory in _segments(file, header, order)
        if kind in (_LOAD, _DYNAMIC)
    )


def _segments(file: IO[bytes], header: bytes, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Each segment's type, its place and size in the file, and its size in memory; one that is cut off lies outside."""
    is_wide = header[4] == 2
    [at] = struct.unpack_from(f"{order}{'Q' if is_wide else 'I'}", header, 32 if is_wide else 28)
    entry_bytes, count = struct.unpack_from(f"{order}HH", header, 54 if is_wide else 42)
    form = f"{order}I4xQ16xQQ" if is_wide else f"{order}II8xII"
    for number in range(count):
        file.seek(min(at + number * entry_bytes, 1 << 62))
        entry = file.read(struct.calcsize(form))
        if len(entry) < struct.calcsize(form):
            yield _LOAD, 1 << 63, 0, 0
            return
        yield struct.unpack(form, entry)
