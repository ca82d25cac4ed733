"""Apps of a farm that is restored, the engine that moves them, and an orchestrator that reports them as healthy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from buildfarm.farm import Farm
from buildfarm.oci.digest import Digest
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import MOVED, AppState, Phase
from buildfarm.releases.shelf import release_digest
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from testkit.archive import Life
from testkit.registry.deployed import Deployed
from workers.wiring import open_rollouts

NAMES = tuple(f"a{number}" for number in range(10))
HELD = "a0"
_RULES = Parameters(cohorts=("1", "100%"), soak_seconds=0, failure_budget=0.3)
_TURNS = 60


@dataclass
class Fleet:
    """One farm, and what works on it."""

    farm: Farm

    @cached_property
    def deployed(self) -> Deployed:
        """What publishes images."""
        return Deployed(self.farm)

    @cached_property
    def engine(self) -> Engine:
        """A node's."""
        return open_rollouts(self.farm, Nodes(self.farm.database), logger())

    @cached_property
    def life(self) -> Life:
        """What makes builds end."""
        return Life(self.farm)

    def name(self, app: str) -> str:
        """With its tenant."""
        return f"{self.life.tenant}/{app}"

    def build(self, base: str, apps: Iterable[str], code: str = "1") -> None:
        """Builds them on a base; no build is old enough for the archive."""
        for app in apps:
            self.life.end(app)
            self.deployed.app(self.name(app), base, code=code)

    def hold(self) -> None:
        """A person keeps one app as it is."""
        self.farm.hold_app(self.life.tenant, HELD, "an audit")

    def start(self, base: str) -> str:
        """A rollout whose apps have been looked at; returns its id."""
        planned = self.farm.plan_rollout(base, _RULES)
        self.turn(2)
        return self.farm.start_rollout(planned.id, reason="a fix of libssl").id

    def turn(self, times: int) -> None:
        """The node goes through its rollouts."""
        for _ in range(times):
            self.engine.turn()

    def go_on(self, rollout: str, until: Callable[[], bool] = lambda: False) -> Phase:
        """Every moved app is reported as healthy, until the rollout ends or pauses, or this is true."""
        for _ in range(_TURNS):
            phase = self.farm.rollout(rollout).phase
            if phase.final or phase is Phase.PAUSED or until():
                break
            self.turn(1)
            for name in self.in_state(rollout, MOVED):
                image, at = self.farm.records.tag_target(f"apps/{name}"), self.farm.database.now()
                tenant, _, app = name.partition("/")
                self.farm.report_health(
                    image, HealthReport(tenant=tenant, app=app, status=Status.HEALTHY, observed_at=at)
                )
        return self.farm.rollout(rollout).phase

    def in_state(self, rollout: str, states: Collection[AppState]) -> list[str]:
        """The rollout's apps that are in one of these states."""
        return [one.app for one in self.farm.rollout_apps(rollout, states)]

    def channels(self) -> set[str]:
        """Their names."""
        return {one.name for one in self.farm.channels()}

    def tags(self) -> dict[str, str]:
        """Where the registry's tag of each app is."""
        return self.deployed.tags([self.name(app) for app in NAMES])

    def releases(self) -> dict[str, str]:
        """The release below each app's tag: its code, whatever the base is."""
        read = self.farm.registry.read_manifest
        return {name: release_digest(read(f"apps/{name}", Digest(tag))[0]) for name, tag in self.tags().items()}
