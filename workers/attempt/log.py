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
from workers.attempt.pace import BatchSize, ReadPace
from workers.attempt.row import CUT
from workers.attempt.spool import Spool, moved
from workers.attempt.terminal import Terminal

LINE_CHARS_MAX = 4000
TAIL_LINES = 20

_BATCH_LINES = 200
_FLOOD_LINES = 2000  # with more lines waiting, the writer is slowed down
_SLOW_SECONDS = 0.25
_PART_BYTES = 4096  # is taken at once: what it costs is known before the next
_SHOWN_SECONDS = 1.0  # the line that is being written is shown no more often
_DRAWING_SECONDS = 3.0  # rows that were drawn over are kept for so long, to be drawn over again
_WAITING_LINES_MAX = 20_000
_WAITING_BYTES_MAX = 4 * 1024 * 1024  # of memory: as much as Redis keeps of a log
_END_SECONDS = 30.0  # so long the end of a build waits for all of its log; then only for the newest lines

# These turn the order of a line round (Unicode, UAX 9), so that it reads as something else: they are shown as text.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")

_LINE_COST_BYTES = 4  # what a line counts beside its text, so that a flood of empty lines is over its limit, too
_END_BYTES = 8192  # of a log over its limit: to classify its end


class BuildLog:
    """The log of one attempt; safe to use from several threads.

    ``append`` sends lines of one phase with the batch's number, which stays the same if it is sent again. ``show`` is
    given the unfinished line whenever it has changed, at most once a second. Both may be as slow as they like: `flush`
    calls them, `write` never does. ``append`` answers with the first line's position, for the ``spool``, which gets
    every line. Lines wait while Redis is unreachable; the oldest are dropped if too many do, and a
    line says so. What is over ``limit_bytes`` is dropped. A flood is read no faster than at a pace, so that other
    builds are not slowed down.
    """

    def __init__(
        self,
        append: Callable[[Phase, Sequence[str], int], object],
        limit_bytes: int = 50_000_000,
        show: Callable[[str], None] = lambda text: None,
        spool: Spool | None = None,
    ) -> None:
        self.more = threading.Event()  # there is enough for a batch
        self._append = append
        self._show = show
        self._spool = spool
        self._shown = ""
        self._shown_at = -_SHOWN_SECONDS  # monotonic
        self._phase = Phase.PREPARE
        self._terminal = Terminal(LINE_CHARS_MAX + 1)
        self._drawn_at = -_DRAWING_SECONDS  # monotonic: when the cursor was last seen to go up
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
        self._taken = 0  # lines that no longer wait
        self._unsent_from = (0, 0)  # the first one's number, and which line of the batch it is
        self._batches = 0
        self._size = BatchSize()
        self._room = threading.Event()
        self._room.set()
        self._pace = ReadPace()

    @property
    def tail(self) -> tuple[str, ...]:
        """The newest lines."""
        with self._lock:
            rows = self._end_rows() if self._end else self._terminal.state()
            end = [self._text(row) for row in rows if row.strip()]
            return tuple([*self._tail, *end][-TAIL_LINES:])

    @property
    def state(self) -> str:
        """The line that is being written, as it is now, less what may be the beginning of a secret."""
        with self._lock:
            if self._bytes > self._limit_bytes:
                return ""
            *others, row = self._terminal.state()
            if self._is_drawn_over():
                row = next((text for text in (row, *reversed(others)) if text), "")
            return self._text(self._mask.withhold(row))

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these are not shown."""
        with self._lock:
            self._mask = Mask(secrets)
            self._terminal.hide(self._mask)
            # A secret that ends behind the cut must still be seen as a whole.
            self._terminal.width = LINE_CHARS_MAX + self._mask.longest + 1

    def hidden(self, text: str) -> str:
        """Another text without what the log hides."""
        return self._mask.hide(text)

    def enter(self, phase: Phase) -> None:
        """Lines from now on belong to this phase."""
        with self._lock:
            self._end_lines()
            self._phase = phase

    def write(self, piece: bytes) -> None:
        """Takes output as it comes, in pieces of any length. A flood is slowed down, and never made to wait long."""
        parts = [piece[at : at + _PART_BYTES] for at in range(0, len(piece), _PART_BYTES)]
        for part in parts:
            wait_seconds = self._take_part(part, _SLOW_SECONDS / len(parts))
            if len(self._waiting) >= _BATCH_LINES:
                self.more.set()
            if wait_seconds > 0:
                time.sleep(min(wait_seconds, _SLOW_SECONDS))
        self._room.wait(_SLOW_SECONDS)

    def skip(self) -> None:
        """Drops all queued lines but the newest, so that ending a build does not wait for a log flood."""
        with self._lock:
            for row in self._terminal.settle():
                self._take(row)
            while len(self._waiting) > TAIL_LINES:
                self._drop()

    def flush(self, *, now: bool = False) -> bool:
        """Sends what waits; with ``now`` also a line that has not ended. False while Redis is silent. LeaseLost."""
        with self._lock:
            if now:
                self._end_lines()
            else:
                self._settle()
        started = time.monotonic()
        with self._sending:
            try:
                # A batch that could not be sent is the first to be sent when Redis is back.
                while batch := self._unsent or self._next_batch():
                    self._unsent = batch
                    asked_at = time.monotonic()
                    self._note(batch[1], self._append(*batch))
                    self._size.learn(time.monotonic() - asked_at)
                    self._unsent = None
                    if now and time.monotonic() - started > _END_SECONDS:
                        self.skip()
                self._show_state(now=now)
                if now and self._spool:
                    self._spool.announce()
            except StoreError:
                return False
            finally:
                self._room.set()
        return True

    def _note(self, lines: Sequence[str], position: object) -> None:
        """The positions that Redis gave to a batch; its answer has that of the first line, if it has any."""
        first, skipped = self._unsent_from
        if self._spool and isinstance(position, str):
            self._spool.sent(first, len(lines) - skipped, moved(position, skipped))

    def _show_state(self, *, now: bool) -> None:
        state = self.state
        if state != self._shown and (now or time.monotonic() - self._shown_at > _SHOWN_SECONDS):
            self._show(state)
            self._shown, self._shown_at = state, time.monotonic()

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
            self._unsent_from = self._taken, len(lines)
            size, room = 0, self._size.memory_bytes
            while self._waiting and self._waiting[0][0] is phase and len(lines) < _BATCH_LINES and size < room:
                lines.append(self._next_line())
                size += sys.getsizeof(lines[-1])
            if len(self._waiting) <= _FLOOD_LINES:
                self._room.set()
            self._batches += 1
            return phase, lines, self._batches

    def _take_part(self, part: bytes, most_seconds: float) -> float:
        """Returns how long to wait before more is read."""
        started, before = time.thread_time(), self._bytes
        with self._lock:
            if self._bytes > self._limit_bytes:
                self._end = (self._end + part)[-_END_BYTES:]
            else:
                for row in self._terminal.feed(part):
                    self._take(row)
            if len(self._waiting) > _FLOOD_LINES:
                self._room.clear()
            # A few bytes can fill a row with blanks.
            counted_bytes = max(len(part), self._bytes - before)
            work_seconds = time.thread_time() - started
            return self._pace.wait_seconds(counted_bytes, part.count(b"\n"), work_seconds, most_seconds)

    def _settle(self) -> None:
        """Takes the lines that have ended, unless the build goes on drawing over them."""
        if self._terminal.went_up:
            self._terminal.went_up, self._drawn_at = False, time.monotonic()
        if not self._is_drawn_over():
            for row in self._terminal.settle():
                self._take(row)

    def _is_drawn_over(self) -> bool:
        return time.monotonic() - self._drawn_at < _DRAWING_SECONDS

    def _end_rows(self) -> list[str]:
        """Of a log over its limit: its last bytes, without the row that they begin in."""
        terminal = Terminal(self._terminal.width)
        terminal.hide(self._mask)
        return [*terminal.feed(self._end.partition(b"\n")[2]), *terminal.end()]

    def _end_lines(self) -> None:
        for row in self._terminal.end():
            self._take(row)

    def _text(self, row: str) -> str:
        text = self._mask.cut(_harmless(row), LINE_CHARS_MAX)
        return text[:LINE_CHARS_MAX] + (CUT if len(row) > LINE_CHARS_MAX else "")

    def _take(self, row: str) -> None:
        if self._bytes > self._limit_bytes:
            return
        text = self._text(row)
        self._bytes += len(text) + _LINE_COST_BYTES
        if self._bytes > self._limit_bytes:
            text = f"The log is over its limit of {self._limit_bytes} bytes; the rest is dropped."
        self._waiting.append((self._phase, text))
        if self._spool:
            self._spool.add(self._phase, text)
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
        self._taken += 1
        self._waiting_bytes -= sys.getsizeof(line)
        return line


def _harmless(row: str) -> str:
    return _BIDI.sub(lambda found: f"<U+{ord(found[0]):04X}>", row)
