"""Archiving: ended builds and old audit entries leave Redis for the registry. Some node does it for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from buildfarm.store import Nodes
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.telemetry import Logger

ARCHIVE_SECONDS = 10.0
_DUTY = "archivist"
_LEAD_SECONDS = 60.0  # longer than a pack takes
_TURN_SECONDS = 10.0  # a node that stops waits for no more
_REST = 9.0  # times as long as a pack took: the builds that run need the same registry and processors
_SHORTER = 3.0  # times, after a turn whose seconds were too few


@dataclass
class Archiving:
    """One turn: as many apps as it has time for. The next one goes on where it ended.

    After each app it rests, so that builds hardly notice it. Rests become shorter with each turn that does not come to
    the end of what is due, and long again with one that does.
    """

    node_id: str
    nodes: Nodes
    archivist: Archivist
    audit: AuditKeeper
    logger: Logger
    sleep: Callable[[float], object] = time.sleep
    _rest: float = _REST

    def turn(self) -> None:
        """Raises StoreError and RegistryError."""
        until = time.monotonic() + _TURN_SECONDS
        while self._leads():
            builds = 0
            apps = self.archivist.due()
            for place in apps:
                if not self._leads() or time.monotonic() >= until:
                    break
                began = time.monotonic()
                builds += self.archivist.archive(place)
                ended = time.monotonic()
                self.sleep(min((ended - began) * self._rest, max(until - ended, 0.0)))
            if builds:
                self.logger.info("builds_archived", builds=builds, apps=len(apps))
            if self.archivist.looked_at_all or time.monotonic() >= until:
                self._rest = _REST if time.monotonic() < until else self._rest / _SHORTER
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
