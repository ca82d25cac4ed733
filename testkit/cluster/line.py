"""A company's line to the internet, as a token bucket: this kernel has no netem."""

from __future__ import annotations

import threading
import time


class Line:
    """What is carried is counted; while ``bytes_a_second`` is set, all connections together get no more than that."""

    def __init__(self) -> None:
        self.bytes_a_second = 0.0  # 0: as fast as it comes
        self.carried = 0  # bytes
        self._lock = threading.Lock()
        self._free_at = 0.0

    def carry(self, count: int) -> None:
        """Return when the line has carried so many bytes more."""
        with self._lock:
            self.carried += count
            now = time.monotonic()
            if self.bytes_a_second:
                self._free_at = max(now, self._free_at) + count / self.bytes_a_second
            wait = self._free_at - now
        if self.bytes_a_second and wait > 0:
            time.sleep(wait)
