"""Archiving: ended builds and old audit entries leave Redis for the registry. Some node does it for all."""

from __future__ import annotations

import time
from dataclasses import dataclass

from buildfarm.store import Nodes
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.telemetry import Logger

ARCHIVE_SECONDS = 10.0
_DUTY = "archivist"
_LEAD_SECONDS = 60.0  # longer than a pack takes
_TURN_SECONDS = 10.0  # a node that stops waits for no more


@dataclass(frozen=True)
class Archiving:
    """One turn: as many apps as it has time for. The next one goes on where it ended."""

    node_id: str
    nodes: Nodes
    archivist: Archivist
    audit: AuditKeeper
    logger: Logger

    def turn(self) -> None:
        """Raises StoreError and RegistryError."""
        until = time.monotonic() + _TURN_SECONDS
        while self._leads():
            builds = 0
            apps = self.archivist.due()
            for place in apps:
                if not self._leads() or time.monotonic() > until:
                    break
                builds += self.archivist.archive(place)
            if builds:
                self.logger.info("builds_archived", builds=builds, apps=len(apps))
            if self.archivist.looked_at_all or time.monotonic() > until:
                return self._clean()
        return None

    def _clean(self) -> None:
        if removed := self.archivist.remove_expired():
            self.logger.info("archive_shortened", builds=removed)
        self.archivist.tidy()
        if moved := self.audit.move():
            self.logger.info("audit_archived", entries=moved)
        if forgotten := self.audit.remove_expired():
            self.logger.info("audit_shortened", entries=forgotten)

    def _leads(self) -> bool:
        return self.nodes.lead(self.node_id, _LEAD_SECONDS, _DUTY)
