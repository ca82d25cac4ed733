"""The end of a step's output, for the sentence that says why it failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class LastLine:
    """Hands output on, and keeps its last line."""

    log: Callable[[bytes], None]
    _lines: deque[bytes] = field(default_factory=lambda: deque([b""], maxlen=3))

    def take(self, piece: bytes) -> None:
        """A piece of output, which may end anywhere in a line."""
        self.log(piece)
        first, *more = piece.split(b"\n")
        self._lines[-1] += first
        self._lines.extend(more)

    @property
    def last(self) -> str:
        """The last line that is not empty; empty if there is none."""
        lines = [line.decode(errors="replace").strip() for line in self._lines]
        return next((line for line in reversed(lines) if line), "")[:500]
