"""Jobs that a node does again and again beside its builds, each in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError
from buildfarm.store import Nodes
from buildfarm.telemetry import Logger

_FAILED_SECONDS = 1.0


class PeriodicJobs:
    """Runs jobs until it is closed. One that fails is logged and tried again: none may end the node."""

    def __init__(self, logger: Logger, failed: Callable[[str], object]) -> None:
        self._logger = logger
        self._failed = failed  # called with the job's name
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, job: Callable[[], None], name: str) -> None:
        """Does the job now and then again after each pause."""
        thread = threading.Thread(target=self._repeat, args=(seconds, job, name), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def pause(self, seconds: float) -> bool:
        """For a job that rests: waits for so many seconds, or until this is closed; whether it is."""
        return self._closed.wait(seconds)

    def close(self) -> None:
        """Stops starting jobs; running jobs end first."""
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, seconds: float, job: Callable[[], None], name: str) -> None:
        failing = False
        while not self._closed.is_set():
            try:
                job()
            except BuildfarmError as error:
                self._failed(name)
                # An outage is logged at its start and at its end, not every second.
                if not failing:
                    self._logger.warning("upkeep_failed", job=name, reason=error.message)
                failing = True
            except Exception:
                self._failed(name)
                self._logger.exception("upkeep_bug", job=name)
                failing = True
            else:
                if failing:
                    self._logger.info("upkeep_works_again", job=name)
                failing = False
            self._closed.wait(max(seconds, _FAILED_SECONDS) if failing else seconds)


@dataclass
class Duty:
    """What one node does for all, as long as it renews its hold. While another's lasts, there is nothing to ask."""

    nodes: Nodes
    node_id: str
    name: str
    seconds: float  # how long a hold lasts
    clock: Callable[[], float] = time.monotonic
    held: bool = False  # what the last answer was
    _not_before: float = field(default=0.0)

    def is_mine(self) -> bool:
        """Takes the duty or keeps it, if no other node has it. Raises StoreError."""
        if self.clock() < self._not_before:
            return False
        left_seconds = self.nodes.led_by_other_seconds(self.node_id, self.seconds, self.name)
        self.held = not left_seconds
        self._not_before = self.clock() + left_seconds
        return self.held
