"""What faults are tried on: three nodes, builds that linger where they are wanted, and what became of them."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from buildfarm.errors import BuildfarmError, TooLateError
from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, Phase, State
from buildfarm.settings import read_settings
from testkit.cluster import services
from testkit.cluster.cluster import Cluster, answers, cluster, golden_disk, wait_for_node
from testkit.cluster.engines import chosen
from testkit.cluster.machine import Machine
from testkit.cluster.shell import wait

NODES = 3
DRAIN_SECONDS = 20
DISK_FREE_BYTES = 400_000_000
LIMITS = {"tenant_running_max": 1000, "tenant_waiting_max": 5000}


@dataclass
class Seen:
    """A row of the table."""

    fault: str = ""
    promise: str = ""
    holds: bool = False
    parts: list[str] = field(default_factory=list)

    def say(self, part: str) -> None:
        self.parts.append(part)

    @property
    def text(self) -> str:
        return "; ".join(self.parts)


@dataclass
class Fleet:
    """The nodes, and the farm as its users see it."""

    cluster: Cluster
    farm: Farm
    redis: services.Service
    registry: services.Service
    folder: Path  # of the apps that are built; removed at the end
    tenant: str = ""
    apps: dict[tuple[str, int], Path] = field(default_factory=dict)

    def make_ready(self) -> None:
        """Every node takes builds and runs none."""
        self.tenant = f"t{uuid.uuid4().hex[:8]}"
        for build in self.farm.recent(400):
            if not build.state.final:
                with suppress(BuildfarmError):
                    self.farm.cancel(build.id)
        for machine in self.cluster.machines:
            if not machine.works:
                machine.start_worker()
        for machine in self.cluster.machines:
            wait_for_node(self.farm, machine, lambda node: node.accepting and not node.builds)
            _cleared(machine, 30)

    def restart(self, machine: Machine, **variables: str) -> None:
        """Its worker anew, with these variables; returns when it takes builds."""
        if machine.works:
            machine.signal_worker(signal.SIGTERM)
            machine.worker_ended(60)
        machine.start_worker(**variables)
        wait_for_node(self.farm, machine, lambda node: node.accepting)

    def only(self, number: int) -> Machine:
        """The node of this number, and no other one runs."""
        for machine in self.cluster.machines:
            if machine.number != number and machine.works:
                machine.signal_worker(signal.SIGTERM)
        for machine in self.cluster.machines:
            if machine.number != number:
                machine.worker_ended(60)
        return self.cluster.node(f"n{number}")

    @contextmanager
    def workers(self, **variables: str) -> Iterator[Fleet]:
        """The fleet with every worker anew with these variables; they end with the block, and leave nothing."""
        url = variables.get("BUILDFARM_REDIS_URL")
        settings = self.farm.settings
        elsewhere = settings.model_copy(update={"redis_url": SecretStr(url)} if url else {})
        with open_farm(elsewhere) as farm:
            other = replace(self, farm=farm)
            try:
                for machine in self.cluster.machines:
                    if machine.works:
                        machine.kill_worker()
                    machine.start_worker(**variables)
                for machine in self.cluster.machines:
                    wait_for_node(farm, machine, lambda node: node.accepting)
                yield other
            finally:
                for machine in self.cluster.machines:
                    if machine.works:
                        machine.kill_worker()

    def submit(self, script: str = "", *, megabytes: int = 0, app: str = "") -> str:
        """A build's id; ``script`` runs in its phase compile, and so many random megabytes are in its source."""
        source, _ = self.farm.pack(self.app(script, megabytes), self.tenant)
        name = app or f"a{uuid.uuid4().hex[:8]}"
        request = BuildRequest(tenant=self.tenant, app=name, source=source, cached_result=False, run_policy="all")
        return self.farm.submit(request).id

    def app(self, script: str = "", megabytes: int = 0) -> Path:
        """The folder of an app that does this when it is built; the same one each time."""
        if (script, megabytes) not in self.apps:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            if script:
                (folder / "package.json").write_text(json.dumps({"scripts": {"build": script}}))
                (folder / "Procfile").write_text("web: true\n")
            else:
                (folder / "index.html").write_text("hello\n")
            if megabytes:
                (folder / "random").write_bytes(os.urandom(megabytes * 1_000_000))
            self.apps[script, megabytes] = folder
        return self.apps[script, megabytes]

    def running(self, build_id: str, phase: Phase | None = None, *, attempt: int = 1, seconds: float = 60) -> Build:
        """The build, as soon as this attempt is in this phase. Raises TimeoutError, also if it is past it."""
        order = list(Phase)
        found: list[Build] = []

        def there() -> bool:
            build = self.farm.get(build_id)
            found[:] = [build]
            if build.state.final or (phase and build.phase and order.index(build.phase) > order.index(phase)):
                raise TimeoutError(f"the build is {build.state} {build.phase} {build.failure}")
            return build.state is State.RUNNING and build.attempt >= attempt and phase in (None, build.phase)

        wait(there, lambda: f"not running: {found}", seconds)
        return found[0]

    def in_phase(self, phase: Phase, *, then: Callable[[Build], object]) -> tuple[Build, float]:
        """Catches a build in this phase and does ``then`` to it there; tries again where it was too quick."""
        for _ in range(10):
            build_id = self.submit("sleep 2", megabytes=30)
            with suppress(TimeoutError, TooLateError):
                build = self.running(build_id, phase)
                acted_at = time.monotonic()
                then(build)
                after = self.farm.get(build_id)
                if after.phase is phase or after.state is State.CANCELLED:
                    return build, acted_at
        raise TimeoutError(f"no build could be caught in {phase}")

    def ended(self, build_id: str, seconds: float = 120) -> Build:
        """The build at its end."""
        wait(lambda: self.farm.get(build_id).state.final, lambda: f"no end: {self.farm.get(build_id)}", seconds)
        return self.farm.get(build_id)

    def published(self, build_id: str) -> int:
        """How often the farm said that this build succeeded; then its tag must be at its image, soon at the latest."""
        events: Any = self.farm.database.client.xrange(self.farm.database.key("events"))
        count: int = sum(event["build"] == build_id and event["state"] == State.SUCCEEDED for _, event in events)
        build = self.farm.get(build_id)
        if build.result:
            # Another node moves the tag of a build whose own node died in publish.
            wait(lambda: self.tag_is_at_image(build), f"the tag of {build_id} is not at its image", 30)
        return count

    def tag_is_at_image(self, build: Build) -> bool:
        """Whether the tag, the record and what the store names as published are one."""
        assert build.result is not None
        repository, digest = build.result.repository, build.result.digest
        with suppress(BuildfarmError):
            tag = self.farm.registry.get_manifest(repository, "latest")[2]
            return tag == digest == self.farm.records.tag_target(repository)
        return False

    def succeeded_once(self, build_id: str, seconds: float = 120) -> Build:
        """The build at its end, which is a good one, told once."""
        build = self.ended(build_id, seconds)
        assert build.state is State.SUCCEEDED, (build.failure, self.log(build_id)[-5:])
        assert self.published(build_id) == 1
        return build

    def log(self, build_id: str) -> list[str]:
        return [f"{line.attempt} {line.phase} {line.text}" for line in self.farm.logs(build_id)]

    def nothing_left(self, seconds: float = 30) -> None:
        """No sandbox and no workspace is on any node that runs."""
        for machine in self.cluster.machines:
            _cleared(machine, seconds)


def _cleared(machine: Machine, seconds: float) -> None:
    wait(lambda: not machine.left_behind(), lambda: f"left: {machine.left_behind()}", seconds)


@contextmanager
def open_fleet() -> Iterator[Fleet]:
    """A fleet that takes builds; nothing of it is left at the end."""
    here = read_settings()
    settings = here.model_copy(
        update={
            "redis_url": SecretStr(services.redis_url()),
            "registry_url": services.registry_url(),
            "namespace": "buildfarm:",
            "signing": "",
            **LIMITS,
        }
    )
    variables = {
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_SIGNING": "",
        "BUILDFARM_REDIS_URL": services.redis_url(),
        "BUILDFARM_REGISTRY_URL": services.registry_url(),
        "BUILDFARM_BUILDER": settings.builder,
        "BUILDFARM_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "BUILDFARM_MEMORY_BYTES": str(512 * 1024**2),
        "BUILDFARM_WARM_SANDBOXES": "0",
        "BUILDFARM_LAYER_FACTS": "false",  # or each node would read the whole builder, and a reading looks like a leak
        "BUILDFARM_DISK_FREE_BYTES": str(DISK_FREE_BYTES),
        "BUILDFARM_DISK_CLEAN_BYTES": str(DISK_FREE_BYTES + 100_000_000),
        **{f"BUILDFARM_{name.upper()}": str(value) for name, value in LIMITS.items()},
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buildfarm-fault-apps.")))
        nodes = stack.enter_context(cluster(variables, own_services=True))
        farm = stack.enter_context(open_farm(settings))
        wait(lambda: answers(farm), "Redis and the registry do not answer")
        engine = chosen()
        golden = golden_disk(farm, variables, engine)
        for _ in range(NODES):
            nodes.add(golden, engine=engine).start_worker()
        yield Fleet(nodes, farm, services.Service("redis"), services.Service("registry"), folder)
