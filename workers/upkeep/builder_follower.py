"""Keeps a node's builder the promoted one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from buildfarm.errors import BuildfarmError
from buildfarm.telemetry import Logger
from workers.builder import Builder, Builders

_AGAIN_SECONDS = 10.0


class Follower:
    """Keeps a node's builder the promoted one: pulls beside the builds, and changes over when the engine has it."""

    def __init__(self, builders: Builders, warm: Callable[[str], Builder], logger: Logger) -> None:
        self._builders = builders
        self._warm = warm
        self._logger = logger
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def follow(self, wanted: str) -> None:
        """Called with the currently promoted builder (repository@digest, or none). Returns at once."""
        current = self._builders.current
        if not wanted or wanted == f"{current.repository}@{current.digest}":
            return
        busy = self._thread is not None and self._thread.is_alive()
        if busy or time.monotonic() < self._not_before:
            return
        self._thread = threading.Thread(target=self._change, args=(wanted,), name="prewarm", daemon=True)
        self._thread.start()

    def _change(self, wanted: str) -> None:
        try:
            self._builders.current = self._warm(wanted)
        except BuildfarmError as error:
            self._logger.warning("builder_not_pulled", builder=wanted, reason=error.message)
            self._not_before = time.monotonic() + _AGAIN_SECONDS
        else:
            self._logger.info("prewarmed", builder=wanted)
