"""A build's log on its way to Redis: bytes become lines, lines are sent in small batches."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from buildfarm.errors import StoreError
from buildfarm.model import Phase

LINE_CHARS_MAX = 4000
TAIL_LINES = 20

_FLUSH_SECONDS = 0.2
_BATCH_LINES = 200
_WAITING_LINES_MAX = 20_000

# Colours and cursor moves (ECMA-48 control sequences), and other control characters but for the tab: what a build
# prints must not steer the terminal of whoever reads its log.
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class BuildLog:
    """The log of one attempt; safe to use from several threads.

    ``append`` sends lines of one phase. Lines wait while Redis is away; the oldest are dropped where too many do.
    """

    def __init__(self, append: Callable[[Phase, Sequence[str]], None]) -> None:
        self._append = append
        self._phase = Phase.PREPARE
        self._partial = b""
        self._waiting: deque[tuple[Phase, str]] = deque(maxlen=_WAITING_LINES_MAX)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._flushed_at = 0.0
        self._lock = threading.Lock()

    @property
    def tail(self) -> tuple[str, ...]:
        """The newest lines."""
        with self._lock:
            return tuple(self._tail)

    def enter(self, phase: Phase) -> None:
        """Lines from now on belong to this phase."""
        with self._lock:
            self._end_line()
            self._phase = phase

    def write(self, piece: bytes) -> None:
        """Takes output as it comes, in pieces of any length."""
        with self._lock:
            *lines, self._partial = (self._partial + piece).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._partial) > LINE_CHARS_MAX:
                self._end_line()

    def flush(self, *, now: bool = False) -> None:
        """Sends what waits, if it has waited long enough or ``now``. Raises LeaseLost; a silent Redis is borne."""
        with self._lock:
            if now:
                self._end_line()
            due = now or time.monotonic() - self._flushed_at > _FLUSH_SECONDS or len(self._waiting) > _BATCH_LINES
            if not due or not self._waiting:
                return
            self._flushed_at = time.monotonic()
            with suppress(StoreError):
                while self._waiting:
                    self._send_batch()

    def _send_batch(self) -> None:
        phase = self._waiting[0][0]
        batch: list[str] = []
        for line_phase, text in self._waiting:
            if line_phase is not phase or len(batch) == _BATCH_LINES:
                break
            batch.append(text)
        self._append(phase, batch)
        for _ in batch:
            self._waiting.popleft()

    def _end_line(self) -> None:
        if self._partial:
            self._take(self._partial)
            self._partial = b""

    def _take(self, line: bytes) -> None:
        text = clean(line)
        self._waiting.append((self._phase, text))
        if text:
            self._tail.append(text)


def clean(line: bytes) -> str:
    """A line as text for people: of what a progress bar overwrites only the last state, and nothing that steers."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = _CONTROLS.sub("", shown.decode(errors="replace"))
    return text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + " [cut]"
