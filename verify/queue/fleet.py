"""What it costs to move a fleet to another base: ``PART=cost APPS=200 python -m verify.fleet`` on a farm that is up.

The registry is a separate one in a container, Redis is the local farm's. Apps have eight layers and 40 variables each;
the first 200 have distinct layers, the others the same ones. An orchestrator that reports each new image as healthy is
simulated in this process.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildfarm.farm import Farm, open_farm
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.facts.check import base_layers
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.observations import Observations
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import Phase
from buildfarm.settings import read_settings
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from testkit.builds import empty_namespace
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from testkit.table import Claims
from workers.wiring import open_rollouts

APPS = int(os.environ.get("APPS", "1000"))
LAYERS, VARIABLES, DISTINCT = 8, 40, 200
MOVE_SECONDS = 0.06  # for each app
BACK_SECONDS = 20.0
WRITTEN_BYTES = 20_000
THREADS = 8
BASES = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z")


@dataclass
class Requests:
    """What the registry was asked."""

    paths: Counter[tuple[str, str]] = field(default_factory=Counter)

    def watch(self, registry: Registry) -> None:
        """Counts from now on."""
        connection: Any = registry._connection
        ask = connection.stream

        def counted(method: str, path: str, **options: Any) -> Any:
            self.paths[method, path.partition("?")[0]] += 1
            return ask(method, path, **options)

        connection.stream = counted


def run(claims: Claims) -> None:
    """Deploys the apps, moves them, and brings half of them back from a second move."""
    with ExitStack() as stack:
        settings = read_settings()
        folder = stack.enter_context(storage_folder())
        registry = stack.enter_context(registry_on(folder, settings.docker_url))
        own = settings.model_copy(
            update={
                "namespace": f"verify-{secrets.token_hex(4)}:",
                "registry_url": f"http://{registry.host}",
                "builder": "",
            }
        )
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        bases, layers = deploy(farm)
        engine = open_rollouts(farm, Nodes(farm.database), logger())
        _move(claims, farm, engine, bases[1], folder=folder, layers=layers)
        _abort(claims, farm, engine, bases[2])


def deploy(farm: Farm) -> tuple[list[str], set[str]]:
    """Apps on the first of three bases; the bases, and the digests of the apps' own layers."""
    deployed = Deployed(farm)
    bases = [deployed.base(created) for created in BASES]
    farm.promote_builder(bases[0])
    names = [f"tenant-{number % 20}/app-{number}" for number in range(APPS)]

    def one(number: int) -> None:
        label = names[number] if number < DISTINCT else "shared"
        deployed.app(names[number], bases[0], label=label, layers=LAYERS, variables=VARIABLES)

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(APPS)))
    _put_facts(farm, deployed, bases)
    print(f"{APPS} apps were deployed in {time.monotonic() - started:.0f} s", flush=True)
    shown = [names[0], names[-1]]
    manifests = [farm.registry.read_manifest(f"apps/{name}", "latest")[0] for name in shown]
    return bases, {str(layer.digest) for manifest in manifests for layer in manifest.layers[-LAYERS:]}


def _put_facts(farm: Farm, deployed: Deployed, bases: list[str]) -> None:
    """What nodes read: each layer's facts are those of an eighth of a tree of 390 MB."""
    store, libraries = FactsStore(farm.database), [f"lib:x86_64/lib{number}.so.1" for number in range(400)]
    provided = LayerFacts(brings={f"usr/lib/{one}": (one,) for one in libraries}, files=tuple(libraries))
    for base in bases:
        for diff_id in base_layers(deployed.read(base)):
            store.put(diff_id, provided)
    for number, own in enumerate(deployed.diff_ids):
        needs = {f"{one}(V_{n})": (f"app/lib{number}/x.so", 9) for one in libraries[:50] for n in range(2)}
        brings = {f"app/lib{number}/{n}.so": (f"lib:x86_64/own{n}.so.1",) for n in range(40)}
        store.put(Digest(own), LayerFacts(needs=needs, brings=brings))


def _move(claims: Claims, farm: Farm, engine: Engine, base: str, *, folder: Path, layers: set[str]) -> None:
    rules = Parameters(cohorts=("1", "10%", "100%"), soak_seconds=0, failure_budget=0.25)
    planned = farm.plan_rollout(base, rules)
    started = time.monotonic()
    engine.turn()
    looked = time.monotonic() - started
    claims.add("a plan looks at every app", f"{looked:.1f} s, {looked / APPS * 1000:.1f} ms an app", looked <= 60)
    requests, blobs = Requests(), _blob_bytes(folder)
    requests.watch(farm.registry)
    farm.start_rollout(planned.id)
    with orchestrator(farm):
        started = time.monotonic()
        done = run_to_its_end(farm, engine, planned.id)
        took = time.monotonic() - started
    asked = requests.paths.total()
    figure = f"{took:.1f} s, {took / APPS * 1000:.1f} ms and {asked / APPS:.1f} requests to the registry an app"
    whole = done is Phase.COMPLETE and {base_of(farm, name) for name in names_of(farm)} == {base}
    claims.add(f"{APPS} apps are moved in {APPS * MOVE_SECONDS:g} s", figure, whole and took <= APPS * MOVE_SECONDS)
    written = (_blob_bytes(folder) - blobs) / APPS
    claims.add("at most 20 kB are written for an app", f"{written / 1000:.1f} kB", written <= WRITTEN_BYTES)
    touched = [path for _, path in requests.paths if any(digest in path for digest in layers)]
    claims.add("no layer of an app is read or sent", f"{len(touched)} requests name one", not touched)


def _abort(claims: Claims, farm: Farm, engine: Engine, base: str) -> None:
    before = {name: farm.records.tag_target(f"apps/{name}") for name in names_of(farm)}
    planned = farm.plan_rollout(base, Parameters(cohorts=("50%", "100%"), failure_budget=1, soak_seconds=3600))
    engine.turn()
    farm.start_rollout(planned.id)
    engine.turn()
    moved = sum(farm.records.tag_target(f"apps/{name}") != digest for name, digest in before.items())
    farm.abort_rollout(planned.id, "a regression")
    started = time.monotonic()
    done = run_to_its_end(farm, engine, planned.id)
    took = time.monotonic() - started
    back = all(
        str(farm.registry.get_manifest(f"apps/{name}", "latest")[2]) == digest for name, digest in before.items()
    )
    figure = f"{moved} apps in {took:.1f} s"
    holds = done is Phase.ABORTED and back and moved == (APPS + 1) // 2 and took <= BACK_SECONDS
    claims.add("an abort after half the moves brings every app back in 20 s", figure, holds)


def run_to_its_end(farm: Farm, engine: Engine, rollout_id: str) -> Phase:
    """The engine's turns until the rollout is over, or pauses."""
    while not (phase := engine.mover.rollouts.get(rollout_id).phase).final and phase is not Phase.PAUSED:
        engine.turn()
        time.sleep(0.05)
    return phase


@contextmanager
def orchestrator(farm: Farm) -> Iterator[None]:
    """Reports each image that an app is to run as healthy, a moment after it was announced."""
    closed = threading.Event()

    def follow() -> None:
        after = "0"
        while not closed.is_set():
            found = farm.image_changes(after, wait_seconds=0.5)
            for one in found:
                tenant, _, app = one.app.partition("/")
                report = HealthReport(tenant=tenant, app=app, status=Status.HEALTHY, observed_at=time.time())
                Observations(farm.database).put(one.image, report)
            after = found[-1].position if found else after

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def names_of(farm: Farm) -> list[str]:
    """All apps, as tenant/app."""
    found: Any = farm.database.client.hkeys(farm.database.key("tags"))
    return sorted(target.removeprefix("apps/") for target in found)


def base_of(farm: Farm, name: str) -> str:
    """What the image at an app's tag stands on, as repository@digest."""
    manifest, _ = farm.registry.read_manifest(f"apps/{name}", "latest")
    told = manifest.annotations
    repository = told["org.opencontainers.image.base.name"].partition("/")[2].rpartition(":")[0]
    return f"{repository}@{told['org.opencontainers.image.base.digest']}"


def _blob_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "docker/registry/v2/blobs").rglob("data"))
