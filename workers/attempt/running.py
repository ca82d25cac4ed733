"""The attempts that run on this node now, and how other threads reach them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError
from buildfarm.telemetry.metrics import Metrics
from workers.attempt.attempt import Attempt


@dataclass(frozen=True)
class RunningAttempts:
    """Safe to use from several threads."""

    metrics: Metrics
    _running: dict[str, tuple[str, Attempt]] = field(default_factory=dict)  # by the attempt's name: build id, progress
    # Re-entrant: a signal's handler may come in while its own thread is inside.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def entered(self, name: str, build_id: str, progress: Attempt) -> Iterator[None]:
        """This attempt runs here for the length of the block; at its end nothing of it is left."""
        with self._lock:
            self._running[name] = build_id, progress
            self.metrics.running.set(len(self._running))
        try:
            yield
        finally:
            with self._lock:
                self._running.pop(name, None)
                self.metrics.running.set(len(self._running))

    def names(self) -> set[str]:
        """Names of the attempts that run here."""
        with self._lock:
            return set(self._running)

    def builds(self) -> tuple[str, ...]:
        """Ids of the builds that run here."""
        with self._lock:
            return tuple(sorted(build_id for build_id, _ in self._running.values()))

    def stuck(self) -> bool:
        """Whether an attempt runs on long after its end was due."""
        with self._lock:
            return any(progress.stuck for _, progress in self._running.values())

    def look(self, build_id: str) -> None:
        """There is something new in the record of this build."""
        with self._lock:
            for running, progress in self._running.values():
                if running == build_id:
                    progress.look()

    def stop_all(self, reason: BuildfarmError) -> None:
        """Ends them all, each at its next check."""
        with self._lock:
            for _, progress in self._running.values():
                progress.stop(reason)
