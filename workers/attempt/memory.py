"""The memory of a node's sandboxes: what all of them may use together never exceeds what the node has for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from buildfarm.errors import NodeError


class NoMemoryError(NodeError):
    """Builds use the memory that the node's upkeep needed; it tries again later."""

    def __init__(self) -> None:
        super().__init__("All memory for sandboxes is in use.")


@dataclass(frozen=True)
class SandboxMemory:
    """Counts the limits of all sandboxes that there are. Safe to use from several threads.

    They count from before they are made until they are gone, whether they wait, have a build, or are being removed.
    """

    limit_bytes: int = 0  # 0: slots alone bound them
    _held: dict[str, int] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)  # those of them that could not be removed
    _waiters: list[object] = field(default_factory=list)  # one for each build that waits
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self, name: str, memory_bytes: int, *, for_build: bool = True) -> bool:
        """Counts a sandbox that is to be made; False, and nothing is counted, if there is no room for it.

        What is not ``for_build`` has none while a build waits: else it would take what the build gives back for itself.
        """
        with self._lock:
            if self._waiters and not for_build:
                return False
            if self.limit_bytes and sum(self._held.values()) + memory_bytes > self.limit_bytes:
                return False
            self._held[name] = memory_bytes
            return True

    def leave(self, name: str) -> None:
        """It is gone."""
        with self._lock:
            self._held.pop(name, None)
            self._left.discard(name)

    def leave_behind(self, name: str) -> None:
        """It could not be removed, and counts until the janitor has done so."""
        with self._lock:
            self._left.update({name} & self._held.keys())

    def left_behind(self) -> set[str]:
        """Those that the janitor is to remove."""
        with self._lock:
            return set(self._left)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A build waits for memory in the block."""
        with self._lock:
            self._waiters.append(None)
        try:
            yield
        finally:
            with self._lock:
                self._waiters.pop()

    @property
    def used_bytes(self) -> int:
        """What they may use together now."""
        with self._lock:
            return sum(self._held.values())
