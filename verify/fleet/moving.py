"""A rollout, the node that works on it, and an orchestrator that reports, while Redis comes and goes."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError, StoreError
from buildfarm.farm import Farm
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import Phase
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from testkit.cluster.shell import run as command
from workers.wiring import open_rollouts

KILLED_AT = (1, 8, 20, 40)  # apps that are reported by then: in the canary, and in each of the waves
RULES = Parameters(cohorts=("1", "25%", "100%"), soak_seconds=0, failure_budget=0.1, report_timeout_seconds=60)
_DOWN_SECONDS, _END_SECONDS = 1.0, 120.0


@dataclass
class Moving:
    """A rollout, a node's work on it, an orchestrator that reports, and what was seen meanwhile."""

    farm: Farm
    redis: str  # its container
    rollout: str = ""
    phase: Phase | None = None  # the newest one
    killed: list[Phase] = field(default_factory=list)  # the phase in which it was
    failures: int = 0  # turns and reports that Redis failed for
    seen: set[tuple[int, int]] = field(default_factory=set)  # unreported and failed apps at once, and the budget then
    announced: list[tuple[str, str]] = field(default_factory=list)  # app and image, as an orchestrator reads them
    seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_within_budget(self) -> bool:
        """Whether apps were seen to move, and never more at once than the wave's own budget."""
        return any(apps for apps, _ in self.seen) and all(apps <= budget for apps, budget in self.seen)

    def go(self, base: str) -> None:
        """Returns when the rollout has ended, or after two minutes."""
        until_it_answers(self.farm)
        engine = open_rollouts(self.farm, Nodes(self.farm.database), logger())
        self.rollout = self.farm.plan_rollout(base, RULES).id
        engine.turn()
        self.farm.start_rollout(self.rollout, reason="a fix of libssl")
        started = time.monotonic()
        reporting = threading.Thread(target=self._report)
        reporting.start()
        try:
            while not self._ended.is_set() and time.monotonic() - started < _END_SECONDS:
                try:
                    engine.turn()
                    self._look()
                except BuildfarmError:
                    self.failures += 1
                time.sleep(0.05)
        finally:
            self._ended.set()
            reporting.join()
        self.seconds = time.monotonic() - started

    def _look(self) -> None:
        found = self.farm.rollout(self.rollout)
        self.phase = found.phase
        if found.gate is not None:
            self.seen.add((found.gate.pending + found.gate.failures, found.gate.budget))
        if found.phase.final or found.phase is Phase.PAUSED:
            self._ended.set()

    def _report(self) -> None:
        """An orchestrator: one report of each announced image. Redis dies after some of them."""
        after, kills = "0", list(KILLED_AT)
        while not self._ended.is_set():
            try:
                for change in self.farm.image_changes(after, wait_seconds=0.2):
                    self._healthy(change.app, change.image)
                    after = change.position
                    self.announced.append((change.app, change.image))
                    if kills and len(self.announced) >= kills[0]:
                        kills.pop(0)
                        self._kill()
            except BuildfarmError:
                self.failures += 1
                time.sleep(0.05)

    def _healthy(self, name: str, image: str) -> None:
        tenant, _, app = name.partition("/")
        at = self.farm.database.now()
        self.farm.report_health(image, HealthReport(tenant=tenant, app=app, status=Status.HEALTHY, observed_at=at))

    def _kill(self) -> None:
        self.killed.append(self.farm.rollout(self.rollout).phase)
        command("docker", "kill", "--signal=KILL", self.redis)
        time.sleep(_DOWN_SECONDS)
        command("docker", "start", self.redis)


def until_it_answers(farm: Farm) -> None:
    until = time.monotonic() + _END_SECONDS
    while time.monotonic() < until:
        with suppress(StoreError):
            farm.database.now()
            return
        time.sleep(0.1)
