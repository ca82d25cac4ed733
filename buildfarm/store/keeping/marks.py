"""A value that Redis and the registry's files share, and each collection changes: it shows a copy that was restored."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database


@dataclass(frozen=True)
class Marks:
    """Redis's side of it. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def valid(self) -> set[str]:
        """One of these is in the registry's files if neither they nor Redis are older than the other."""
        with self.database.failures():
            found: Any = self.database.client.hmget(self._key, ["mark", "next_mark"])
        return {mark for mark in found if mark}

    def make(self) -> str:
        """A new mark, which counts beside the one before until it is `settled`."""
        mark = secrets.token_hex(8)
        with self.database.failures():
            self.database.client.hset(self._key, "next_mark", mark)
        return mark

    def settled(self, mark: str) -> None:
        """The registry's files have this mark now, and no other one counts."""
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.hset(self._key, "mark", mark)
            pipeline.hdel(self._key, "next_mark")
            pipeline.execute()

    def hold(self) -> None:
        """No collection begins until an operator confirms that what is in use is known."""
        self.settled(secrets.token_hex(8))

    @property
    def _key(self) -> str:
        return self.database.key("collected")
