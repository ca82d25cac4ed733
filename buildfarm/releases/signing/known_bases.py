"""Bases that operators have chosen: the signer signs no app's image on another one."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.store.database import Database


@dataclass(frozen=True)
class KnownBases:
    """Bases as repository@digest. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def add(self, *bases: str) -> None:
        """An operator has chosen these: for a channel, a rollout, or the move of an app."""
        if chosen := [base for base in bases if base]:
            self.database.run("known_base", [self.database.namespace], *chosen)

    def has(self, base: str) -> bool:
        """Whether this one was ever chosen."""
        with self.database.failures():
            return self.database.client.zscore(self.database.key("bases"), base) is not None

    def is_empty(self) -> bool:
        """Whether none was: then no app's image can be signed."""
        with self.database.failures():
            return not self.database.client.exists(self.database.key("bases"))
