"""What a command in a sandbox writes, as far as it is kept."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

CAPTURE_BYTES_MAX = 64 * 1024
_STDOUT = 1


def in_order(command: Sequence[str]) -> list[str]:
    """The command with one stream for all that it writes: an engine does not keep the order of lines of two streams."""
    return ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]


class Output:
    """Takes an attached stream apart into frames (Docker Engine API, "Attach to a container")."""

    def __init__(self, log: Callable[[bytes], None], capture: bool) -> None:
        self._log = log
        self._capture = capture
        self._buffer = bytearray()
        self.captured = bytearray()
        self.cut = False

    def feed(self, piece: bytes) -> None:
        self._buffer += piece
        while len(self._buffer) >= 8:
            # 8 bytes before each payload: the stream's number, three zeros, the length
            kind, length = struct.unpack(">BxxxL", self._buffer[:8])
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if kind == _STDOUT and self._capture:
                room = CAPTURE_BYTES_MAX - len(self.captured)
                self.cut = self.cut or len(payload) > room
                self.captured += payload[:room]
            else:
                self._log(payload)
