"""What a leader does for the audit log: entries of days that are over go to the registry; old ones are removed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.oci.connection import NotInRegistryError
from buildfarm.store.archive.audit.parts import KEPT_SECONDS, REPOSITORY, AuditParts, put_part
from buildfarm.store.logs import position_of

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_PARTS_MAX = 20  # that one turn moves


@dataclass(frozen=True)
class AuditKeeper:
    """Moves entries to the registry, one node at a time; harmless if it is two. Raises StoreError and RegistryError."""

    parts: AuditParts
    registry: Registry
    kept_seconds: float = KEPT_SECONDS

    def move(self) -> int:
        """Moves the entries of whole days; returns how many."""
        total = 0
        for _ in range(_PARTS_MAX):
            last, entries = self.parts.over()
            # A crash before the list says so does no harm: the same entries make the same artifact.
            if not entries or not self.parts.keep(put_part(self.registry, entries, last.head if last else "-"), last):
                break
            total += len(entries)
        return total

    def remove_expired(self) -> int:
        """Removes parts whose time is over; returns how many entries they had."""
        before = (self.parts.database.now() - self.kept_seconds) * 1000
        # The newest part stays: the stream still has its last entry, which would go to the registry again.
        old = [part for part in self.parts.oldest(_PARTS_MAX + 1)[:-1] if position_of(part.last)[0] < before]
        for part in old:
            with suppress(NotInRegistryError):
                self.registry.delete_manifest(REPOSITORY, part.manifest)
            self.parts.forget(part)
        return sum(part.count for part in old)
