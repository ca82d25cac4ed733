"""The memory of a node's sandboxes: what all of them may use together never exceeds what the node has for them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SandboxMemory:
    """Counts the limits of all sandboxes that there are. Safe to use from several threads.

    They count from before they are made until they are gone, whether they wait, have a build, or are being removed.
    """

    limit_bytes: int = 0  # 0: slots alone bound them
    _held: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self, name: str, memory_bytes: int) -> bool:
        """Counts a sandbox that is to be made; False, and nothing is counted, if there is no room for it."""
        with self._lock:
            if self.limit_bytes and sum(self._held.values()) + memory_bytes > self.limit_bytes:
                return False
            self._held[name] = memory_bytes
            return True

    def leave(self, name: str) -> None:
        """It is gone."""
        with self._lock:
            self._held.pop(name, None)

    @property
    def used_bytes(self) -> int:
        """What they may use together now."""
        with self._lock:
            return sum(self._held.values())
