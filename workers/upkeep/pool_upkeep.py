"""Looks after the sandbox pool: beside the builds, but not at a build's start, which needs the processors more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.builder import Builders
from workers.sandbox.pool import SandboxPool

_WAIT_SECONDS = 0.5
_SIGNING_SECONDS = 0.15  # after a build was handed over: signing takes as long as removing a sandbox keeps a processor
_QUIET_SECONDS = 1.0  # after a build has begun; most that change little have ended by then
_SHARE_MIN = 0.1  # of this machine's memory; with less available no sandbox waits
_MEMORY_EACH_BYTES = 1024**3  # a waiting sandbox takes about 25 MB; it has builds beside it
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class PoolUpkeep:
    """Fills a node's pool, removes what builds have used, and gives the pool up while the node lacks something."""

    pool: SandboxPool
    builders: Builders
    accepting: Callable[[], bool]
    meminfo: Callable[[], str] = _MEMORY.read_text
    pause: Callable[[float], object] = time.sleep

    def tend(self) -> None:
        """Waits for the end of a build, or for a moment; then does what there is to do. Raises NodeError.

        What a build used goes first, for something may still run in it; unless the next build would find nothing ready.
        """
        ended = self.pool.due.wait(_WAIT_SECONDS)
        if ended and self.pool.handed_over.is_set():
            if self.pool.has_ready:
                self.pause(_SIGNING_SECONDS)  # the signer may be on this machine
            self.pool.handed_over.clear()
        self.pool.due.clear()
        try:
            if self.pool.has_ready:
                self.pool.remove_used()
            if not self.accepting() or self._lacks_memory():
                self.pool.empty()
            elif ended or self.pool.taken_seconds(time.monotonic()) > _QUIET_SECONDS:
                held = self.builders.held.by_reference().values()
                self.pool.fill(self.builders.current.image, [builder.image for builder in held])
                if not ended:
                    self.pool.prepare_networks()
        finally:
            self.pool.remove_used()

    def _lacks_memory(self) -> bool:
        found = self.meminfo()
        return read_memory(found, "MemAvailable") < read_memory(found, "MemTotal") * _SHARE_MIN


def ready_max(wanted: int, slots: int, total_bytes: int) -> int:
    """How many sandboxes wait: as many as were asked for, or else one for each slot, as far as memory goes round."""
    return wanted if wanted >= 0 else max(1, min(slots, total_bytes // _MEMORY_EACH_BYTES))


def total_memory() -> int:
    """Bytes of this machine's memory."""
    return read_memory(_MEMORY.read_text(), "MemTotal")


def read_memory(meminfo: str, name: str) -> int:
    """One of the figures of /proc/meminfo, in bytes."""
    lines = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024
