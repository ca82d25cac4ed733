"""Collections of the registry's garbage: when the newest was, and what it found."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database

_TOTALS = ("manifests", "blobs", "freed_bytes")


@dataclass(frozen=True)
class Newest:
    """The newest collection, and sums over all of them."""

    ended_at: float
    found: Mapping[str, Any]
    totals: Mapping[str, int]  # manifests, blobs and freed_bytes of all collections


@dataclass(frozen=True)
class Collections:
    """The farm's memory of its collections. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def farm_id(self) -> str:
        """What tells this farm's Redis from every other, also from one that was restored empty."""
        key = self.database.key("farm")
        with self.database.failures():
            self.database.client.set(key, secrets.token_hex(16), nx=True)
            return str(self.database.client.get(key))

    def ended(self, found: Mapping[str, Any]) -> None:
        """Keeps the result of a collection, of the newest one alone, and adds it to the sums."""
        now, key = self.database.now(), self.database.key("collected")
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.hset(key, mapping={"ended_at": str(now), "found": json.dumps(found)})
            for name in _TOTALS:
                pipeline.hincrby(key, f"total:{name}", int(found[name]))
            pipeline.execute()

    def newest(self) -> Newest | None:
        """The newest collection; None if there was none."""
        with self.database.failures():
            fields: Any = self.database.client.hgetall(self.database.key("collected"))
        if "ended_at" not in fields:
            return None
        totals = {name: int(fields.get(f"total:{name}", 0)) for name in _TOTALS}
        return Newest(float(fields["ended_at"]), json.loads(fields["found"]), totals)

    def due(self, every_seconds: float) -> bool:
        """Whether the newest collection ended that long ago."""
        with self.database.failures():
            ended_at: Any = self.database.client.hget(self.database.key("collected"), "ended_at")
        return not ended_at or self.database.now() - float(ended_at) >= every_seconds

    def led_by(self, node_id: str) -> bool:
        """Whether this node is the one that sweeps, which also collects."""
        with self.database.failures():
            return bool(self.database.client.get(self.database.key("sweeper")) == node_id)
