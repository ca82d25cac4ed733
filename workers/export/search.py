"""The search for several texts at once in a stream of chunks."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from workers.export.needles import Needle

# Python itself is linked to it. glibc's memmem takes a third of the time of bytes.find, and ctypes releases the
# interpreter's lock for each call, so other threads go on compressing.
_memmem = ctypes.CDLL(None).memmem
_memmem.restype = ctypes.c_void_p
_memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)


class NeedleFoundError(Exception):
    """A needle is in what was added so far."""

    def __init__(self, needle: Needle) -> None:
        super().__init__(needle.name)
        self.needle = needle


class Search:
    """Looks for all needles in one stream, whose chunks are added one after another."""

    def __init__(self, needles: Sequence[Needle]) -> None:
        self._needles = needles
        self._kept_bytes = max(len(needle.form) for needle in needles) - 1
        self._tail = b""

    def add(self, chunk: bytes | memoryview) -> None:
        """Search the chunk and what crosses its beginning. Raises NeedleFoundError. A memoryview must be writable."""
        border = self._tail + bytes(chunk[: self._kept_bytes])
        if self._tail:
            self._look_at(border, len(border))
        if chunk:
            data = chunk if isinstance(chunk, bytes) else ctypes.byref(ctypes.c_char.from_buffer(chunk))
            self._look_at(data, len(chunk))
        last = border if len(chunk) < self._kept_bytes else bytes(chunk[-self._kept_bytes :])
        self._tail = last[-self._kept_bytes :]

    def _look_at(self, data: object, size_bytes: int) -> None:
        for needle in self._needles:
            if _memmem(data, size_bytes, needle.form, len(needle.form)) is not None:
                raise NeedleFoundError(needle)
