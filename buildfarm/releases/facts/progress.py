"""Whether nodes go on reading layers, for those who wait for them. In Redis."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.store.database import Database

UNREAD_SECONDS = 900  # without a layer that was read, a rollout no longer waits
_STOPPED_SECONDS = 120


@dataclass(frozen=True)
class Progress:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    @property
    def key(self) -> str:
        """It is there for 15 minutes after a node has read a layer."""
        return self.database.key("facts-progress")

    def goes_on(self) -> bool:
        """Whether a node has read a layer within the last 15 minutes."""
        with self.database.failures():
            return bool(self.database.client.exists(self.key))

    def stopped(self, why: str) -> None:
        """A node reads none for now."""
        with self.database.failures():
            self.database.client.set(self.database.key("facts-stopped"), why, ex=_STOPPED_SECONDS)

    def why_stopped(self) -> str:
        """Why a node reads none; empty if nodes go on."""
        with self.database.failures():
            return str(self.database.client.get(self.database.key("facts-stopped")) or "")
