"""What a command in a sandbox writes, as far as it is kept."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

CAPTURE_BYTES_MAX = 64 * 1024
_STDOUT, _STDERR = 1, 2
_CODE_DIGITS = 3


def in_order(command: Sequence[str]) -> list[str]:
    """The command with one stream for all that it writes: an engine does not keep the order of lines of two streams."""
    return ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]


class EndMark:
    """Finds the end of a part in one of its streams: NUL, a word that nothing else writes, and the exit code."""

    def __init__(self, word: str) -> None:
        self.code: int | None = None
        self._mark = b"\0" + word.encode()
        self._held = b""

    def feed(self, payload: bytes) -> bytes:
        """Returns what certainly is output."""
        content = self._held + payload
        at = content.find(self._mark)
        if at < 0:
            # The NUL that a mark begins with may be among the last bytes.
            at = content.find(b"\0", max(0, len(content) - len(self._mark) + 1))
            self._held = content[at:] if at >= 0 else b""
            return content[:at] if at >= 0 else content
        self._held = content[at:]
        digits = content[at + len(self._mark) :][:_CODE_DIGITS]
        if len(digits) == _CODE_DIGITS:
            self.code = int(digits) if digits.isdigit() else 255  # only something that knows the mark writes others
        return content[:at]

    def rest(self) -> bytes:
        """What looked like the beginning of a mark, once nothing more comes."""
        return self._held if self.code is None else b""


class Output:
    """Takes an attached stream apart into frames (Docker Engine API, "Attach to a container").

    With a ``mark`` it is that of a part, which ends with the mark on both streams.
    """

    def __init__(self, log: Callable[[bytes], None], capture: bool, mark: str = "") -> None:
        self._log = log
        self._capture = capture
        self._marks = {stream: EndMark(mark) for stream in (_STDOUT, _STDERR)} if mark else {}
        self._buffer = bytearray()
        self.captured = bytearray()
        self.cut = False

    @property
    def is_of_part(self) -> bool:
        """Whether it ends with a mark."""
        return bool(self._marks)

    @property
    def code(self) -> int | None:
        """The exit code of a part that has ended."""
        codes = [mark.code for mark in self._marks.values()]
        return codes[0] if codes and None not in codes else None

    def feed(self, piece: bytes) -> None:
        self._buffer += piece
        while len(self._buffer) >= 8:
            # 8 bytes before each payload: the stream's number, three zeros, the length
            kind, length = struct.unpack(">BxxxL", self._buffer[:8])
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            mark = self._marks.get(kind)
            self._take(kind, mark.feed(payload) if mark else payload)

    def end(self) -> None:
        """Nothing more comes, although a part has not ended."""
        for kind, mark in self._marks.items():
            self._take(kind, mark.rest())

    def _take(self, kind: int, content: bytes) -> None:
        if kind == _STDOUT and self._capture:
            room = CAPTURE_BYTES_MAX - len(self.captured)
            self.cut = self.cut or len(content) > room
            self.captured += content[:room]
        elif content:
            self._log(content)
