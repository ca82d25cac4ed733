"""The farm's own order of buildpacks: which are tried, first to last, on an app that names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.store.database import Database


@dataclass(frozen=True)
class BuildpackOrder:
    """A list in Redis; empty as long as the builder's order was not changed. Raises StoreError."""

    database: Database

    def get(self) -> tuple[str, ...]:
        """The buildpacks as `buildfarm.buildpacks.address` writes them."""
        with self.database.failures():
            found = self.database.client.lrange(self._key, 0, -1)
        return tuple(str(name) for name in found)

    def put(self, buildpacks: Sequence[str]) -> None:
        """Replaces the whole order."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=True)
            pipeline.delete(self._key)
            if buildpacks:
                pipeline.rpush(self._key, *buildpacks)
            pipeline.execute()

    @property
    def _key(self) -> str:
        return self.database.key("buildpacks")
