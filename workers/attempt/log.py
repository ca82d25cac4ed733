"""A build's log on its way to Redis: bytes become lines, lines are sent in small batches."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from buildfarm.errors import StoreError
from buildfarm.model import Phase
from workers.attempt.mask import Mask

LINE_CHARS_MAX = 4000
TAIL_LINES = 20

_BATCH_LINES = 200
_FLOOD_LINES = 2000  # with more lines waiting, the writer is slowed down
_SLOW_SECONDS = 0.25
_PACE_BYTES = 2_000_000  # a second; the engine spends two processors on a flood that is not slowed down
_LINE_COUNTS_BYTES = 256  # beside its length: to carry a line costs, however short it is
_PACE_SECONDS = 2.0  # a build may be ahead of the pace by so much
_WAITING_LINES_MAX = 20_000
_WAITING_BYTES_MAX = 4 * 1024 * 1024  # of memory: as much as Redis keeps of a log
_BATCH_BYTES = 256 * 1024  # of memory: one step of Redis stays short

# Colours and cursor moves (ECMA-48 control sequences), and other control characters but for the tab: what a build
# prints must not control the terminal of a reader.
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# These turn the order of a line round (Unicode, UAX 9), so that it reads as something else: they are shown as text.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")

_LINE_COST_BYTES = 64  # what a line takes beside its text
_END_BYTES = 8192  # of a log over its limit: to classify its end


class BuildLog:
    """The log of one attempt; safe to use from several threads.

    ``append`` sends lines of one phase with the batch's number, which stays the same if it is sent again. It may be as
    slow as it likes: `flush` calls it, `write` never does. Lines
    wait while Redis is unreachable; the oldest are dropped if too many do, and a line says so. What is over
    ``limit_bytes`` is dropped. A flood is read no faster than at a pace, so that other builds are not slowed down.
    """

    def __init__(self, append: Callable[[Phase, Sequence[str], int], None], limit_bytes: int = 50_000_000) -> None:
        self.more = threading.Event()  # there is enough for a batch
        self._append = append
        self._phase = Phase.PREPARE
        self._partial = b""
        self._cut = False  # the line was too long: the rest of it is left out
        self._mask = Mask()
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._end = b""  # of a log over its limit
        self._waiting: deque[tuple[Phase, str]] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lock = threading.Lock()  # of the fields
        self._sending = threading.Lock()  # of the batch on its way
        self._unsent: tuple[Phase, list[str], int] | None = None
        self._batches = 0
        self._room = threading.Event()
        self._room.set()
        self._read_until = 0.0  # monotonic: when a build that keeps to the pace would have written so much

    @property
    def tail(self) -> tuple[str, ...]:
        """The newest lines."""
        with self._lock:
            end = [self._mask.hide(clean(line)) for line in self._end.split(b"\n")[1:] if line.strip()]
            return tuple([*self._tail, *end][-TAIL_LINES:])

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these are not shown."""
        with self._lock:
            self._mask = Mask(secrets)

    def hidden(self, text: str) -> str:
        """Another text without what the log hides."""
        return self._mask.hide(text)

    def enter(self, phase: Phase) -> None:
        """Lines from now on belong to this phase."""
        with self._lock:
            self._end_line()
            self._phase = phase

    def write(self, piece: bytes) -> None:
        """Takes output as it comes, in pieces of any length. A flood is slowed down, and never made to wait long."""
        with self._lock:
            if self._bytes > self._limit_bytes:
                self._end = (self._end + piece)[-_END_BYTES:]
            else:
                self._take_piece(piece)
            count = len(self._waiting)
            if count > _FLOOD_LINES:
                self._room.clear()
            now = time.monotonic()
            counted = len(piece) + _LINE_COUNTS_BYTES * piece.count(b"\n")
            self._read_until = max(self._read_until, now) + counted / _PACE_BYTES
            ahead_seconds = self._read_until - now - _PACE_SECONDS
        if count >= _BATCH_LINES:
            self.more.set()
        self._room.wait(_SLOW_SECONDS)
        if ahead_seconds > 0:
            time.sleep(min(ahead_seconds, _SLOW_SECONDS))

    def skip(self) -> None:
        """Drops all queued lines but the newest, so that ending a build does not wait for a log flood."""
        with self._lock:
            while len(self._waiting) > TAIL_LINES:
                self._drop()

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

    def _next_batch(self) -> tuple[Phase, list[str], int] | None:
        with self._lock:
            self.more.clear()
            if not self._waiting:
                return None
            phase = self._waiting[0][0]
            lines: list[str] = []
            if self._dropped:
                lines.append(f"[{self._dropped} lines are missing here: they came faster than they could be stored]")
                self._dropped = 0
            size = 0
            while self._waiting and self._waiting[0][0] is phase and len(lines) < _BATCH_LINES and size < _BATCH_BYTES:
                lines.append(self._next_line())
                size += sys.getsizeof(lines[-1])
            if len(self._waiting) <= _FLOOD_LINES:
                self._room.set()
            self._batches += 1
            return phase, lines, self._batches

    def _take_piece(self, piece: bytes) -> None:
        first, *lines = piece.split(b"\n")
        if not self._cut:
            self._partial += first
        for line in lines:
            self._end_line(always=True)
            self._partial = line
        # A secret that ends behind the cut must still be seen as a whole.
        if len(self._partial) > LINE_CHARS_MAX + self._mask.longest:
            self._end_line()
            self._cut = True

    def _end_line(self, *, always: bool = False) -> None:
        if self._partial or (always and not self._cut):
            self._take(self._partial)
        self._partial, self._cut = b"", False

    def _take(self, line: bytes) -> None:
        if self._bytes > self._limit_bytes:
            return
        text = _shorten(self._mask.hide(_harmless(line)))
        self._bytes += len(text) + _LINE_COST_BYTES
        if self._bytes > self._limit_bytes:
            text = f"The log is over its limit of {self._limit_bytes} bytes; the rest is dropped."
        self._waiting.append((self._phase, text))
        self._waiting_bytes += sys.getsizeof(text)
        while len(self._waiting) > _WAITING_LINES_MAX or self._waiting_bytes > _WAITING_BYTES_MAX:
            self._drop()
        if text:
            self._tail.append(text)

    def _drop(self) -> None:
        self._next_line()
        self._dropped += 1

    def _next_line(self) -> str:
        _, line = self._waiting.popleft()
        self._waiting_bytes -= sys.getsizeof(line)
        return line


def clean(line: bytes) -> str:
    """A line as text for people: of what a progress bar overwrites only the last state, and nothing that steers."""
    return _shorten(_harmless(line))


def _harmless(line: bytes) -> str:
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = _CONTROLS.sub("", shown.decode(errors="replace"))
    return _BIDI.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def _shorten(text: str) -> str:
    return text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + " [cut]"
