"""A gzip member: one index or one log. Nothing here does I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_GZIP = 31  # zlib's name for deflate with gzip's header and check sum
_PIECE_BYTES = 256 * 1024


def compress(content: bytes) -> bytes:
    """As one gzip member, without name or time."""
    return b"".join(compressed([content]))


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same, of a content that comes in pieces."""
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def unpacked(content: bytes, limit_bytes: int = 1 << 32) -> Iterator[bytes]:
    """The content of a gzip member, in pieces. Raises ValueError if it is damaged, cut off, or over the limit."""
    unpacker, rest, total = zlib.decompressobj(_GZIP), content, 0
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _PIECE_BYTES)
            rest = unpacker.unconsumed_tail
            if not piece and not rest and not unpacker.eof:
                raise ValueError("it was cut off")
            total += len(piece)
            if total > limit_bytes:
                raise ValueError(f"it is over {limit_bytes:,} bytes")
            yield piece
    except zlib.error as error:
        raise ValueError("it is damaged") from error
