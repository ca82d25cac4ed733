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


def split(buffer: bytes, at: int = 0) -> tuple[bytes | None, int] | None:
    """The line at this place of the buffer, None for a flush, and where it ends; None if it is not complete yet.

    Raises NotPktLineError.
    """
    if len(buffer) < at + _HEAD:
        return None
    head = buffer[at : at + _HEAD]
    if not all(byte in b"0123456789abcdefABCDEF" for byte in head):
        raise NotPktLineError("a length has four hex digits")
    length = int(head, 16)
    if length == 0:
        return None, at + _HEAD
    if not _HEAD <= length <= LINE_BYTES_MAX:
        raise NotPktLineError(f"a line cannot have the length {length}")
    return (buffer[at + _HEAD : at + length], at + length) if len(buffer) >= at + length else None


async def until_flush(pieces: AsyncIterator[bytes], bytes_max: int, lines_max: int) -> tuple[list[bytes], bytes]:
    """The lines before the first flush, and what was read after it.

    Raises NotPktLineError if there is none within so many bytes and lines, or the body ends before it.
    """
    lines: list[bytes] = []
    buffer, seen_bytes = b"", 0
    async for piece in pieces:
        buffer, at = buffer + piece, 0
        while (found := split(buffer, at)) is not None:
            content, at = found
            if content is None:
                return lines, buffer[at:]
            lines.append(content)
            if seen_bytes + at > bytes_max or len(lines) > lines_max:
                raise NotPktLineError(f"the list of refs has more than {bytes_max:,} bytes or {lines_max:,} lines")
        buffer, seen_bytes = buffer[at:], seen_bytes + at
    raise NotPktLineError("the body ended within the list of refs")
