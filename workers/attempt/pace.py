"""How fast a build's log is read and sent."""

from __future__ import annotations

import time

_PACE_BYTES = 2_000_000  # a second; the engine spends two processors on a flood that is not slowed down
_LINE_COUNTS_BYTES = 256  # beside its length: to carry a line costs, however short it is
_PACE_SECONDS = 2.0  # a build may be ahead of the pace by so much
_WORK_SHARE = 1 / 8  # of a processor: what a build's log may take, however much its output moves the cursor

_BATCH_BYTES = 256 * 1024  # of memory: one step of Redis stays short
_FIRST_BATCH_BYTES = 16 * 1024  # where Redis takes little, a larger one would never be answered in time
_SMALL_BATCH_BYTES = 4 * 1024
_BATCH_SECONDS = 0.5  # a batch that takes longer is followed by a smaller one, and a larger one otherwise


class ReadPace:
    """What a build may print: so many bytes a second, and so much work for the node."""

    def __init__(self) -> None:
        self._read_until = 0.0  # monotonic: when a build that keeps to the pace would have written so much

    def wait_seconds(self, read_bytes: int, lines: int, work_seconds: float, most_seconds: float) -> float:
        """How long to wait before more is read, now that this was read and took so much of a processor.

        That is ``most_seconds`` at most, or what the work asks for if that is more.
        """
        now = time.monotonic()
        asked_seconds = work_seconds / _WORK_SHARE
        counted_bytes = read_bytes + _LINE_COUNTS_BYTES * lines
        self._read_until = max(self._read_until, now) + max(counted_bytes / _PACE_BYTES, asked_seconds)
        return min(self._read_until - now - _PACE_SECONDS, max(most_seconds, asked_seconds))


class BatchSize:
    """How much is sent at once: as much as Redis takes in a short time."""

    def __init__(self) -> None:
        self.memory_bytes = _FIRST_BATCH_BYTES

    def learn(self, seconds: float) -> None:
        """A batch took so long."""
        wanted = self.memory_bytes // 2 if seconds > _BATCH_SECONDS else self.memory_bytes * 2
        self.memory_bytes = min(max(wanted, _SMALL_BATCH_BYTES), _BATCH_BYTES)
