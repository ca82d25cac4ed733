"""Builds' logs: streams that only the holder of the lease appends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import LeaseLost
from buildfarm.model import LogLine, Phase
from buildfarm.store.database import Database
from buildfarm.store.leases import Lease

START = "0"


@dataclass(frozen=True)
class Logs:
    """The logs of all builds. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    log_bytes: int

    def append(self, lease: Lease, phase: Phase, lines: Sequence[str]) -> None:
        """Adds lines in their order. Raises LeaseLost."""
        keys = [self.database.key("build", lease.build_id), self._key(lease.build_id)]
        if not self.database.run("append", keys, lease.attempt, phase, self.log_bytes, *lines):
            raise LeaseLost(f"Attempt {lease.attempt} of build {lease.build_id} may not write to the log any more.")

    def read(self, build_id: str, after: str = START, *, wait_seconds: float = 0, limit: int = 1000) -> list[LogLine]:
        """Lines after a position; waits for the next one where there is none. Empty when the wait is over."""
        block = int(wait_seconds * 1000) or None
        with self.database.failures():
            answer: Any = self.database.client.xread({self._key(build_id): after}, count=limit, block=block)
        # redis-py answers with a list or a mapping, by version of the protocol
        entries = [
            entry for _, found in (answer.items() if isinstance(answer, dict) else answer or ()) for entry in found
        ]
        if entries and entries[0] and isinstance(entries[0][0], (list, tuple)):
            entries = [entry for group in entries for entry in group]
        return [
            LogLine(position=position, attempt=int(fields["a"]), phase=Phase(fields["p"]), text=fields["t"])
            for position, fields in entries
        ]

    def tail(self, build_id: str, limit: int) -> list[str]:
        """The newest lines, oldest first."""
        with self.database.failures():
            entries: Any = self.database.client.xrevrange(self._key(build_id), count=limit)
        return [fields["t"] for _, fields in reversed(entries)]

    def _key(self, build_id: str) -> str:
        return self.database.key("build", build_id, "log")
