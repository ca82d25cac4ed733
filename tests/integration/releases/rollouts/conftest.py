"""A farm with a registry of its own, some apps, an engine that tests turn by hand, and an orchestrator that reports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from buildfarm.farm import Farm, open_farm
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.views import RolloutView
from buildfarm.settings import Settings
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from testkit.builds import empty_namespace
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from workers.wiring import open_rollouts

FIRST, SECOND, THIRD = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
QUICK = Parameters(cohorts=("1", "50%", "100%"), soak_seconds=0, failure_budget=1)


@dataclass
class Fleet:
    """Ten apps on a promoted base, and newer ones."""

    farm: Farm
    deployed: Deployed
    first: str
    second: str
    third: str
    apps: dict[str, str] = field(default_factory=dict)  # name to digest
    engine: Engine | None = None

    def open_engine(self, node_id: str = "n1") -> Engine:
        own = replace(self.farm, settings=self.farm.settings.model_copy(update={"node_id": node_id}))
        return open_rollouts(own, Nodes(own.database), logger())

    def turn(self, times: int = 1) -> None:
        self.engine = self.engine or self.open_engine()
        for _ in range(times):
            self.engine.turn()

    def start(self, base: str = "", rules: Parameters = QUICK) -> RolloutView:
        planned = self.farm.plan_rollout(base or self.second, rules)
        self.turn()
        return self.farm.start_rollout(planned.id, reason="a fix of libssl")

    def report(self, name: str, status: Status = Status.HEALTHY, *, at: float = 0.0, image: str = "") -> bool:
        tenant, _, app = name.partition("/")
        digest = image or self.farm.records.tag_target(f"apps/{name}")
        observed_at = at or self.farm.database.now()
        return self.farm.report_health(
            digest, HealthReport(tenant=tenant, app=app, status=status, observed_at=observed_at)
        )

    def moved(self, rollout_id: str) -> list[str]:
        states = (AppState.ANNOUNCED, AppState.RUNNING, AppState.HEALTHY, AppState.FAILED)
        return [one.app for one in self.farm.rollout_apps(rollout_id, states)]

    def state(self, rollout_id: str, name: str) -> AppState:
        return next(one.state for one in self.farm.rollout_apps(rollout_id) if one.app == name)

    def report_all(self, rollout_id: str) -> None:
        for name in self.moved(rollout_id):
            self.report(name)

    def finish(self, rollout_id: str, turns: int = 20) -> RolloutView:
        for _ in range(turns):
            if (found := self.farm.rollout(rollout_id)).phase.final or found.phase is Phase.PAUSED:
                return found
            self.turn()
            self.report_all(rollout_id)
        return self.farm.rollout(rollout_id)

    def bases(self) -> dict[str, str]:
        return {name: self.farm.app_image(*name.split("/")).base for name in self.apps}

    def builds_on(self) -> dict[str, str]:
        return dict(self.farm.database.client.hgetall(self.farm.database.key("app-bases")))


@dataclass(frozen=True)
class Stock:
    """A registry with apps of a first base and with newer bases, made once for the tests of a module."""

    url: str
    bases: tuple[str, str, str]
    images: dict[str, str]


@pytest.fixture(scope="module")
def stock(services: Settings) -> Iterator[Stock]:
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:", "builder": ""})
    with storage_folder() as folder, registry_on(folder, services.docker_url) as registry:
        own = own.model_copy(update={"registry_url": f"http://{registry.host}"})
        with open_farm(own) as farm:
            deployed = Deployed(farm)
            first, second, third = (deployed.base(created) for created in (FIRST, SECOND, THIRD))
            names = [f"shop/a{number}" for number in range(10)]
            yield Stock(own.registry_url, (first, second, third), {name: deployed.app(name, first) for name in names})
        empty_namespace(own)


@pytest.fixture
def fleet(settings: Settings, stock: Stock) -> Iterator[Fleet]:
    own = settings.model_copy(update={"registry_url": stock.url, "builder": "", "layer_facts": False})
    with open_farm(own) as farm, ThreadPoolExecutor(8) as pool:
        targets = {f"apps/{name}": digest for name, digest in stock.images.items()}
        farm.database.client.hset(farm.database.key("tags"), mapping=targets)
        list(pool.map(lambda one: farm.registry.move_tag(one, "latest", lambda: targets[one]), targets))
        farm.promote_builder(stock.bases[0])
        yield Fleet(farm, Deployed(farm), *stock.bases, dict(stock.images))
