"""How much each tenant has in the registry, counted at uploads and corrected by collections; how full its disk is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database

KINDS = ("sources", "caches", "apps", "archive")  # first parts of repositories whose second is a tenant


@dataclass(frozen=True)
class Standing:
    """How a tenant stands in the registry."""

    disk_share: float  # how full its disk is, from 0 to 1; 0 if no process that sees it reported lately
    used: dict[str, int]
    limit: int | None  # that was set for the tenant


@dataclass(frozen=True)
class Usage:
    """Bytes by tenant and kind. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    @property
    def _key(self) -> str:
        return self.database.key("usage")

    def of(self, tenant: str) -> dict[str, int]:
        """A tenant's bytes by kind: as the newest collection found them, and what came since."""
        with self.database.failures():
            found: Any = self.database.client.hmget(self._key, fields_of(tenant))
        return decode(found)

    def add(self, tenant: str, kind: str, size: int) -> None:
        """Counts an upload, or with a negative size one that came to nothing."""
        self.database.run("count", [self._key], f"{tenant}:{kind}:new", size)

    def sent(self, repository: str, size: int) -> None:
        """Counts an upload to a repository, if it is a tenant's."""
        kind, _, rest = repository.partition("/")
        if kind in KINDS and rest:
            self.add(rest.partition("/")[0], kind, size)

    def uncorrected(self) -> dict[str, int]:
        """What was counted at uploads, which a collection that begins now will find."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self._key)
        return {field: int(value) for field, value in found.items() if field.endswith(":new")}

    def correct(self, found: Mapping[str, Mapping[str, int]], before: Mapping[str, int]) -> None:
        """Replaces the sums by what a collection found; ``before`` is what was `uncorrected` at its beginning."""
        measured = {f"{tenant}:{kind}": size for tenant, kinds in found.items() for kind, size in kinds.items()}
        with self.database.failures():
            known: Any = self.database.client.hkeys(self._key)
            pipeline = self.database.client.pipeline()
            for field in known:
                if not field.endswith(":new") and field not in measured:
                    pipeline.hdel(self._key, field)
            for field, size in measured.items():
                pipeline.hset(self._key, field, size)
            for field, size in before.items():
                pipeline.hincrby(self._key, field, -size)
            pipeline.execute()
        # What has come to zero goes away.
        self.database.run("count", [self._key], *(part for field in before for part in (field, 0)))

    def put_disk(self, used_bytes: int, total_bytes: int, seconds: float) -> None:
        """Reports how full the registry's disk is; the report counts for so long."""
        with self.database.failures():
            value = json.dumps([used_bytes, total_bytes])
            self.database.client.set(self.database.key("registry-disk"), value, px=int(seconds * 1000))

    def standing(self, tenant: str) -> Standing:
        """What decides whether a tenant has room, in one step: submits wait for it."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.get(self.database.key("registry-disk"))
            pipeline.hmget(self._key, fields_of(tenant))
            pipeline.hget(self.database.key("limits"), f"{tenant}:bytes")
            disk, used, limit = pipeline.execute()
        used_bytes, total_bytes = json.loads(disk) if disk else (0, 1)
        return Standing(used_bytes / total_bytes, decode(used), int(limit) if limit else None)


def fields_of(tenant: str) -> list[str]:
    """The fields of a tenant."""
    return [f"{tenant}:{kind}{new}" for kind in KINDS for new in ("", ":new")]


def decode(values: list[str | None]) -> dict[str, int]:
    """The values of `fields_of`, by kind."""
    numbers = [int(value or 0) for value in values]
    return {kind: max(0, sum(numbers[2 * index : 2 * index + 2])) for index, kind in enumerate(KINDS)}
