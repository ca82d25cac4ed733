"""A layer's blob as the tar stream that was compressed, in chunks."""

from __future__ import annotations

import gzip
import io
from collections.abc import Generator
from typing import IO, cast

import zstandard
from isal import igzip, isal_zlib

from buildfarm.errors import RegistryError

_CHUNK_BYTES = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_DAMAGED = (EOFError, gzip.BadGzipFile, cast("type[Exception]", isal_zlib.error), zstandard.ZstdError)


def unpacked(pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """Uncompress what `LayerStream` made with any compression; the first bytes say which.

    Raises RegistryError if the pieces are damaged, and what ``pieces`` raises. Closing it closes ``pieces``.
    """
    with as_file(pieces) as packed:
        magic = packed.peek(len(_ZSTD))
        raw = cast("IO[bytes]", packed)
        if magic.startswith(_GZIP):
            raw = cast("IO[bytes]", igzip.IGzipFile(fileobj=packed))  # type: ignore[no-untyped-call]
        elif magic.startswith(_ZSTD):
            raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        try:
            while chunk := raw.read(_CHUNK_BYTES):
                yield chunk
        except _DAMAGED as error:
            raise RegistryError(f"A layer cannot be unpacked: {error}.") from error


def as_file(pieces: Generator[bytes, None, None]) -> io.BufferedReader:
    """Make one file of the pieces, which can be read once from its beginning to its end; closing it closes them."""
    return io.BufferedReader(_Pieces(pieces), _CHUNK_BYTES)


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Generator[bytes, None, None]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        self._pieces.close()
        super().close()
