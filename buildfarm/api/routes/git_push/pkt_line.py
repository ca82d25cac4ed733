"""pkt-lines: a length of four hex digits, which counts itself, and then the content (git, gitprotocol-common).

A side-band is a number before the content of each: 1 for data, 2 for what the client prints behind `remote:`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

FLUSH = b"0000"
LINE_BYTES_MAX = 65520
DATA, PROGRESS = 1, 2

_HEAD = 4


class NotPktLineError(ValueError):
    """The bytes are not pkt-lines."""


def pkt_line(content: bytes) -> bytes:
    """The content as one line. Raises NotPktLineError if it is too long."""
    if len(content) > LINE_BYTES_MAX - _HEAD:
        raise NotPktLineError(f"a pkt-line has at most {LINE_BYTES_MAX} bytes")
    return b"%04x%b" % (len(content) + _HEAD, content)


def band(number: int, content: bytes) -> bytes:
    """The content as lines of a side-band of 64k; one line without content if it is empty."""
    most = LINE_BYTES_MAX - _HEAD - 1
    pieces = [content[at : at + most] for at in range(0, max(len(content), 1), most)]
    return b"".join(pkt_line(bytes([number]) + piece) for piece in pieces)


def split(buffer: bytes) -> tuple[bytes | None, bytes] | None:
    """The first line of the buffer, None for a flush, and the rest; None if the line is not complete yet.

    Raises NotPktLineError.
    """
    if len(buffer) < _HEAD:
        return None
    head = buffer[:_HEAD]
    if not all(byte in b"0123456789abcdefABCDEF" for byte in head):
        raise NotPktLineError("a length has four hex digits")
    length = int(head, 16)
    if length == 0:
        return None, buffer[_HEAD:]
    if not _HEAD <= length <= LINE_BYTES_MAX:
        raise NotPktLineError(f"a line cannot have the length {length}")
    return (buffer[_HEAD:length], buffer[length:]) if len(buffer) >= length else None


async def until_flush(pieces: AsyncIterator[bytes], bytes_max: int) -> tuple[list[bytes], bytes]:
    """The lines before the first flush, and what was read after it.

    Raises NotPktLineError if there is none within ``bytes_max`` bytes, or the body ends before it.
    """
    lines: list[bytes] = []
    buffer, seen_bytes = b"", 0
    async for piece in pieces:
        buffer += piece
        while (found := split(buffer)) is not None:
            content, rest = found
            if content is None:
                return lines, rest
            seen_bytes += len(buffer) - len(rest)
            buffer = rest
            lines.append(content)
            if seen_bytes > bytes_max:
                raise NotPktLineError(f"the list of refs has more than {bytes_max:,} bytes")
    raise NotPktLineError("the body ended within the list of refs")
