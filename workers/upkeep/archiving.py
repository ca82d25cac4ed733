"""Archiving: ended builds and old audit entries leave Redis for the registry. Some node does it for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from buildfarm.store import Nodes
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.telemetry import Logger

ARCHIVE_SECONDS = 10.0
_DUTY = "archivist"
_LEAD_SECONDS = 60.0  # longer than a pack takes
_TURN_SECONDS = 10.0  # for the apps that are due
_REST, _REST_MIN = 9.0, 0.1  # times as long as an app took: builds need the same registry and processors
_SHARE = 1 / 360  # of the time that ended builds stay in Redis, for a turn's rests: ten seconds of an hour
_SHORTER = 3.0  # rests are divided by this after a turn that did not come to the end


def rests_seconds(archive_seconds: float) -> float:
    """How long a turn may rest where ended builds stay in Redis for so long."""
    return min(_TURN_SECONDS, archive_seconds * _SHARE)


@dataclass
class Archiving:
    """Archives in turns: each one as many apps as it has time for. The next one goes on where it ended.

    Between two apps and between two turns it rests, so that builds hardly notice it. Rests become shorter with each
    turn that does not come to the end of what is due, and long again with one that has left out none.
    """

    node_id: str
    nodes: Nodes
    archivist: Archivist
    audit: AuditKeeper
    logger: Logger
    pause: Callable[[float], bool]  # for so many seconds; whether the node stops
    rests_seconds: float  # of a turn: after so long it rests no more
    clock: Callable[[], float] = time.monotonic
    _rest: float = field(default=_REST, init=False)
    _left_out: bool = field(default=False, init=False)  # some app, since the list of ended builds began

    def turns(self) -> None:
        """Takes turns until one leaves out no app. Raises StoreError and RegistryError."""
        while self.turn() and not self.pause(ARCHIVE_SECONDS * self._rest / _REST):
            pass

    def turn(self) -> bool:
        """Whether the next one should come sooner than usual. Raises StoreError and RegistryError."""
        began = self.clock()
        until, rests_until = began + _TURN_SECONDS, began + self.rests_seconds
        while self._leads():
            if not self._archive(self.archivist.due(), until, rests_until):
                return False
            if self.archivist.looked_at_all or self.clock() >= until:
                self._pace()
                self._clean()
                return self._rest < _REST
        return False

    def _archive(self, apps: Sequence[str], until: float, rests_until: float) -> bool:
        """As many of these apps as there is time for; False if this node stops, or archives no longer."""
        builds, goes_on = 0, True
        for number, place in enumerate(apps, 1):
            if self.clock() >= until:
                self._left_out = True
                break
            began = self.clock()
            builds += self.archivist.archive(place)
            ended = self.clock()
            if number < len(apps):
                stops = self.pause(min((ended - began) * self._rest, max(rests_until - ended, 0.0)))
                if stops or not self._leads():
                    goes_on = False
                    break
        if builds:
            self.logger.info("builds_archived", builds=builds, apps=len(apps))
        return goes_on

    def _pace(self) -> None:
        """How long the next turn rests."""
        at_end = self.archivist.looked_at_all
        self._rest = _REST if at_end and not self._left_out else max(self._rest / _SHORTER, _REST_MIN)
        if at_end:
            self._left_out = False

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
