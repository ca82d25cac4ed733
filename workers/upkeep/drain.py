"""Draining: the node takes no more builds, lets those it has end for a while, hands the rest back, and leaves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from buildfarm.errors import NodeStopped
from buildfarm.telemetry import Logger
from workers.attempt.running import RunningAttempts

_HAND_BACK_SECONDS_MAX = 20.0  # for clearing sandboxes away and telling the farm


class Drain:
    """The way out of this node's process. ``leave`` ends it by force, if a build does not free its slot."""

    def __init__(
        self, attempts: RunningAttempts, grace_seconds: float, logger: Logger, leave: Callable[[bool], None]
    ) -> None:
        self.begun = False
        self.restart = False  # whether the node starts anew afterwards
        self._attempts = attempts
        # A part of the grace time is for handing back, so that the process has ended when it is over.
        self._hand_back_seconds = min(_HAND_BACK_SECONDS_MAX, grace_seconds / 4)
        self._wait_seconds = grace_seconds - self._hand_back_seconds
        self._logger = logger
        self._leave = leave

    def ask(self, *, restart: bool = False) -> None:
        """Begins it as a signal from outside would."""
        if not self.begun:
            self.restart = restart
            os.kill(os.getpid(), signal.SIGTERM)

    def signalled(self, **_: object) -> None:
        """A signal to end came: the first drains, the second hands all builds back at once."""
        if self.begun:
            self._hand_back()
            return
        self.begun = True
        self._logger.info("draining", builds=len(self._attempts.names()))
        _later(self._wait_seconds, self._hand_back)

    def _hand_back(self) -> None:
        self._logger.info("handing_back", builds=len(self._attempts.names()))
        self._attempts.stop_all(NodeStopped("The node was stopped before the build ended."))
        _later(self._hand_back_seconds, self._force)

    def _force(self) -> None:
        # Leases of what is left here end by themselves within seconds.
        self._logger.error("slots_stuck", builds=self._attempts.builds())
        self._leave(self.restart)


def _later(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
