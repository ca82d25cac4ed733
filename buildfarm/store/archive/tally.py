"""How the archive stands, for those who watch it: what it has, what waits for it, and what in it is damaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from buildfarm.store.archive.catalog import Ended
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.database import Database

_COUNTS = ("packs", "builds", "log_bytes", "waiting", "waiting_logs")


@dataclass(frozen=True)
class Waiting:
    """Ended builds whose time to be archived has come."""

    builds: int = 0
    logs: int = 0  # of them, those whose log is still on its node
    due_at: float = 0.0  # when the first was to be archived; 0: none waits

    def and_also(self, found: Iterable[Ended], *, seconds: float, patience_seconds: float) -> Waiting:
        """With those of these builds that are not archived; of one whose log is on its node, the patience counts."""
        waiting = [build for build in found if not build.archived]
        due = [build.finished_at + (patience_seconds if build.waits else seconds) for build in waiting]
        first = min([*due, self.due_at] if self.due_at else due, default=0.0)
        return Waiting(self.builds + len(waiting), self.logs + sum(build.waits for build in waiting), first)


@dataclass(frozen=True)
class Stand:
    """The archive as the archivist last saw it."""

    packs: int
    builds: int
    log_bytes: int  # of the packs' logs, compressed
    damaged: int  # packs
    waiting: Waiting
    looked_at: float  # when it last looked for builds to archive; 0: never
    overdue_seconds: float  # for how long the first of those that wait should have been in the archive


@dataclass(frozen=True)
class Tally:
    """Redis's memory of it. Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def looked(self, waiting: Waiting) -> None:
        """The archivist has looked at every ended build."""
        found = {"waiting": waiting.builds, "waiting_logs": waiting.logs, "due_at": waiting.due_at}
        self._keep({**found, "looked_at": self.database.now()})

    def counted(self, packs: Iterable[Shelved]) -> None:
        """The archive consists of these packs."""
        found = list(packs)
        builds, log_bytes = sum(pack.builds for pack in found), sum(pack.data_bytes for pack in found)
        self._keep({"packs": len(found), "builds": builds, "log_bytes": log_bytes})

    def damaged(self) -> set[str]:
        """Packs that cannot be read, as "tenant/app manifest"."""
        with self.database.failures():
            found: Any = self.database.client.smembers(self.database.key("archive", "damaged"))
        return set(found)

    def note_damaged(self, reference: str) -> bool:
        """A pack cannot be read; False if that is known."""
        with self.database.failures():
            return bool(self.database.client.sadd(self.database.key("archive", "damaged"), reference))

    def forget_damaged(self, reference: str) -> None:
        """It can be read again, or is no longer part of the archive."""
        with self.database.failures():
            self.database.client.srem(self.database.key("archive", "damaged"), reference)

    def read(self) -> Stand:
        """How the archive stands."""
        with self.database.failures():
            known: Any = self.database.client.hgetall(self.database.key("archive", "state"))
            damaged: Any = self.database.client.scard(self.database.key("archive", "damaged"))
        packs, builds, log_bytes, waiting, logs = (int(known.get(name, 0)) for name in _COUNTS)
        due_at, looked_at = float(known.get("due_at", 0)), float(known.get("looked_at", 0))
        overdue_seconds = max(0.0, self.database.now() - due_at) if due_at else 0.0
        return Stand(packs, builds, log_bytes, damaged, Waiting(waiting, logs, due_at), looked_at, overdue_seconds)

    def _keep(self, fields: dict[Any, Any]) -> None:
        with self.database.failures():
            self.database.client.hset(self.database.key("archive", "state"), mapping=fields)
