"""The farm's public keys: the signer reports them, and everyone who verifies images reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database


@dataclass(frozen=True)
class SigningKeys:
    """The public keys that images are signed with, as the signer reports them. Raises StoreError."""

    database: Database

    def all(self) -> tuple[str, ...]:
        """In PEM form; the newest signs, and all of them are valid."""
        with self.database.failures():
            found: Any = self.database.client.lrange(self.database.key("signing:keys"), 0, -1)
        return tuple(found)

    def reported_at(self) -> float:
        """When a signer did so last, in seconds since the epoch; 0: never."""
        with self.database.failures():
            found: Any = self.database.client.get(self.database.key("signing:reported"))
        return float(found or 0)

    def replace(self, keys: Sequence[str]) -> None:
        """These are the keys."""
        name = self.database.key("signing:keys")
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=True)
            pipeline.delete(name)
            pipeline.rpush(name, *keys)
            pipeline.set(self.database.key("signing:reported"), self.database.now())
            pipeline.execute()
