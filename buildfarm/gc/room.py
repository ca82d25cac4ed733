"""Whether there is room in the registry: for a tenant by its limit, and for all by the disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock

from buildfarm.errors import RegistryFullError, StorageLimitError, StoreError
from buildfarm.model import Request
from buildfarm.store import Admission
from buildfarm.store.keeping.usage import Usage
from buildfarm.telemetry import units

UPLOADS_SHARE, SUBMITS_SHARE = 0.90, 0.95  # of the disk; beyond, new ones are refused, and running builds publish
_STEP_BYTES = 4 * 1024 * 1024
_PAUSE_SECONDS = 60.0
_SHOWN = {"apps": "images", "sources": "sources", "caches": "build caches", "archive": "records and logs"}


@dataclass
class SentBytes:
    """Counts uploads of builds. While Redis is unreachable, builds go on, and what they send is counted later."""

    usage: Usage
    _waiting: dict[str, int] = field(default_factory=dict)
    _not_before: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def add(self, repository: str, size: int) -> None:
        """An upload ended well. Raises nothing."""
        with self._lock:
            self._waiting[repository] = self._waiting.get(repository, 0) + size
            if time.monotonic() < self._not_before:
                return
            try:
                for name in list(self._waiting):
                    self.usage.sent(name, self._waiting[name])
                    del self._waiting[name]
            except StoreError:
                self._not_before = time.monotonic() + _PAUSE_SECONDS


@dataclass(frozen=True)
class Room:
    """Refuses what has no room. Every method raises StoreError if Redis cannot be reached."""

    admission: Admission

    @property
    def usage(self) -> Usage:
        """Where it is counted."""
        return Usage(self.admission.database)

    def check_upload(self, tenant: str) -> None:
        """Raises StorageLimitError and RegistryFullError if the tenant must not upload."""
        self._check(tenant, UPLOADS_SHARE, "sources")

    def check_submit(self, request: Request, build_id: str | None) -> None:
        """Raises the same if its build would have no room; one that was accepted before passes."""
        try:
            self._check(request.tenant, SUBMITS_SHARE, "builds")
        except (RegistryFullError, StorageLimitError):
            if not self.accepted(request, build_id):
                raise

    def counted(self, tenant: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a source, counted while they pass: side by side, uploads do not exceed the limit either."""
        total = counted = 0
        try:
            for piece in pieces:
                total += len(piece)
                if total - counted >= _STEP_BYTES:
                    self.usage.add(tenant, "sources", total - counted)
                    counted = total
                    self._check(tenant, 1.0, "sources")
                yield piece
        except BaseException:
            self.usage.add(tenant, "sources", -counted)
            raise
        self.usage.add(tenant, "sources", total - counted)

    def accepted(self, request: Request, build_id: str | None) -> bool:
        """Whether a build was made of this request before, by its id or its idempotency key."""
        database = self.admission.database
        keys = [database.key("key", request.tenant, request.idempotency_key)] if request.idempotency_key else []
        keys += [database.key("build", build_id)] if build_id else []
        with database.failures():
            return bool(keys and database.client.exists(*keys))

    def _check(self, tenant: str, most: float, what: str) -> None:
        found = self.usage.standing(tenant)
        if found.disk_share >= most:
            share = f"{found.disk_share:.0%}"
            raise RegistryFullError(f"The farm accepts no new {what}: the registry's disk is {share} full.")
        limit = found.limit or self.admission.terms.limits.tenant_bytes
        if limit and sum(found.used.values()) >= limit:
            raise over(tenant, limit, found.used)


def over(tenant: str, limit: int, used: Mapping[str, int]) -> StorageLimitError:
    """The refusal of a tenant that has used up its limit, with a table of what takes how much."""
    rows = sorted(((size, _SHOWN[kind]) for kind, size in used.items() if size), reverse=True)
    table = "".join(f"\n  {name:<17}{units.size(size):>10}" for size, name in rows)
    return StorageLimitError(
        f"{tenant} has {units.size(sum(used.values()))} in the registry; its limit is {units.size(limit)}.{table}",
        advice=f"Keep less (buildfarm retention set {tenant}), or ask the farm's operators for a higher limit;"
        " what goes is counted after the next collection.",
    )
