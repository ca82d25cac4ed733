"""A build's log on its way to Redis: bytes become lines, lines are sent in small batches."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Sequence

from buildfarm.errors import StoreError
from buildfarm.model import Phase

LINE_CHARS_MAX = 4000
TAIL_LINES = 20

_BATCH_LINES = 200
_FLOOD_LINES = 2000  # with more lines waiting, whoever writes is slowed down
_SLOW_SECONDS = 0.25
_WAITING_LINES_MAX = 20_000

# Colours and cursor moves (ECMA-48 control sequences), and other control characters but for the tab: what a build
# prints must not steer the terminal of whoever reads its log.
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class BuildLog:
    """The log of one attempt; safe to use from several threads.

    ``append`` sends lines of one phase, and may be as slow as it likes: `flush` calls it, `write` never does. Lines
    wait while Redis is away; the oldest are dropped where too many do, and the log says so.
    """

    def __init__(self, append: Callable[[Phase, Sequence[str]], None]) -> None:
        self.more = threading.Event()  # there is enough for a batch
        self._append = append
        self._phase = Phase.PREPARE
        self._partial = b""
        self._waiting: deque[tuple[Phase, str]] = deque()
        self._dropped = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lock = threading.Lock()  # of the fields
        self._sending = threading.Lock()  # of the batch on its way
        self._unsent: tuple[Phase, list[str]] | None = None
        self._room = threading.Event()
        self._room.set()

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
        """Takes output as it comes, in pieces of any length. A flood is slowed down, and never made to wait long."""
        with self._lock:
            *lines, self._partial = (self._partial + piece).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._partial) > LINE_CHARS_MAX:
                self._end_line()
            count = len(self._waiting)
            if count > _FLOOD_LINES:
                self._room.clear()
        if count >= _BATCH_LINES:
            self.more.set()
        self._room.wait(_SLOW_SECONDS)

    def flush(self, *, now: bool = False) -> bool:
        """Sends what waits; with ``now`` also a line that has not ended. False while Redis is silent. LeaseLost."""
        if now:
            with self._lock:
                self._end_line()
        with self._sending:
            try:
                # A batch that could not be sent is the first to be sent when Redis is back.
                while batch := self._unsent or self._next_batch():
                    self._unsent = batch
                    self._append(*batch)
                    self._unsent = None
            except StoreError:
                return False
            finally:
                self._room.set()
        return True

    def _next_batch(self) -> tuple[Phase, list[str]] | None:
        with self._lock:
            self.more.clear()
            if not self._waiting:
                return None
            phase = self._waiting[0][0]
            lines: list[str] = []
            if self._dropped:
                lines.append(f"[{self._dropped} lines are missing here: they came faster than the log is kept]")
                self._dropped = 0
            while self._waiting and self._waiting[0][0] is phase and len(lines) < _BATCH_LINES:
                lines.append(self._waiting.popleft()[1])
            if len(self._waiting) <= _FLOOD_LINES:
                self._room.set()
            return phase, lines

    def _end_line(self) -> None:
        if self._partial:
            self._take(self._partial)
            self._partial = b""

    def _take(self, line: bytes) -> None:
        text = clean(line)
        if len(self._waiting) >= _WAITING_LINES_MAX:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append((self._phase, text))
        if text:
            self._tail.append(text)


def clean(line: bytes) -> str:
    """A line as text for people: of what a progress bar overwrites only the last state, and nothing that steers."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = _CONTROLS.sub("", shown.decode(errors="replace"))
    return text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + " [cut]"
