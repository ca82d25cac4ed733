"""Policies of retention that were set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database


@dataclass(frozen=True)
class Policies:
    """Policies of tenants and apps. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def all(self) -> dict[str, float]:
        """Every value that was set, as "tenant:field" and "tenant/app:field"."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("retention"))
        return {name: float(value) for name, value in sorted(found.items())}

    def set(self, tenant: str, app: str | None, values: Mapping[str, float | None]) -> None:
        """Sets what is named; None goes back to the tenant's policy or the settings."""
        owner, key = f"{tenant}/{app}" if app else tenant, self.database.key("retention")
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            for name, value in values.items():
                if value is None:
                    pipeline.hdel(key, f"{owner}:{name}")
                else:
                    pipeline.hset(key, f"{owner}:{name}", f"{value:g}")
            pipeline.execute()
