"""A node with one of the engines, and a farm of which it is the only node."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest
from buildfarm.settings import read_settings
from testkit.builds import EXAMPLES
from testkit.cluster import containers, services
from testkit.cluster.cluster import ROOT, answers, cluster, golden_disk, wait_for_node
from testkit.cluster.engines import CHOICE, Engine
from testkit.cluster.machine import Machine
from testkit.cluster.shell import run, wait

TENANT = "verify"
_SECONDS = 120.0
_NETWORK = "buildfarm-builds"  # how its name begins
_SOCKET = ROOT / "nodes.sock"  # of this machine's engine, whose own place is hidden from nodes
_GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@dataclass(frozen=True)
class Trial:
    """The node, its engine, and the farm."""

    farm: Farm
    machine: Machine

    def networks(self) -> list[str]:
        """Names of the sandboxes' networks on its engine: each is named after its farm's Redis."""
        names = self.machine.docker("network", "ls", "--format={{.Name}}").split()
        return [name for name in names if name.startswith(_NETWORK)]

    def submit(self, directory: Path, app: str) -> str:
        """A build's id."""
        source, _ = self.farm.pack(directory, TENANT)
        return self.farm.submit(BuildRequest(tenant=TENANT, app=app, source=source, cached_result=False)).id

    def ended(self, build_id: str) -> Build:
        """The build at its end, which must be a good one."""
        wait(lambda: self.farm.get(build_id).state.final, lambda: f"no end: {self.farm.get(build_id)}", _SECONDS)
        build = self.farm.get(build_id)
        if build.result is None:
            raise RuntimeError(f"{build.failure}: {[line.text for line in self.farm.logs(build_id)][-5:]}")
        return build

    def image(self, build: Build) -> str:
        """As the node's engine pulls it."""
        assert build.result is not None
        return f"{self.farm.registry.host}/{build.result.repository}@{build.result.digest}"

    def ask(self, image: str) -> str:
        """What a container of the image answers on the node, over HTTP; it is pulled first."""
        self.machine.docker("pull", "--quiet", image)
        container = self.machine.docker("run", "--detach", "--rm", "--init", "--env=PORT=8080", image).strip()
        try:
            address = self.machine.docker(
                "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container
            )
            url, told = f"http://{address.strip()}:8080/", [""]

            def answered() -> bool:
                told[0] = self.get(url)
                return bool(told[0])

            wait(answered, lambda: self.machine.docker("logs", container))
            return told[0]
        finally:
            self.machine.docker("rm", "--force", container)

    def get(self, url: str) -> str:
        """What is answered at an address as the node sees it; empty if nothing is."""
        return run(*self.machine.inside(), sys.executable, "-c", _GET, url, check=False).strip()

    def restart(self, **variables: str) -> None:
        """Its worker anew, with these variables."""
        self.machine.signal_worker(signal.SIGTERM)
        self.machine.worker_ended(60)
        self.machine.start_worker(**variables)
        wait_for_node(self.farm, self.machine, lambda node: node.accepting)

    def tests(self, *arguments: str, seconds: float, **others: str) -> subprocess.CompletedProcess[str]:
        """A part of the tests on the node: they start their own worker, and the services are those of the trial."""
        variables = {
            "BUILDFARM_DOCKER_URL": self.machine.docker_url,
            "DOCKER_HOST": self.machine.docker_url,
            "BUILDFARM_REDIS_URL": services.redis_url(),
            "BUILDFARM_REGISTRY_URL": services.registry_url(),
            "BUILDFARM_TESTS_NEED_SERVICES": "1",
            "BUILDFARM_SIGNING": "",
            "BUILDFARM_BUILDER": self.farm.settings.builder,
            "BUILDFARM_LAYER_FACTS": "false",
            containers.ENGINE: f"unix://{_SOCKET}",
            containers.NAMES: services.NETWORK,
            **self.machine.engine.variables,
            **others,
        }
        return pytest(self.machine.inside(), variables, *arguments, seconds=seconds)


def pytest(
    inside: list[str], variables: dict[str, str], *arguments: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Runs a part of the tests in a process of its own."""
    settings = [f"{name}={value}" for name, value in variables.items()]
    # Entering a node's mounts also leaves this folder.
    command = [
        *inside,
        "env",
        f"--chdir={EXAMPLES.parent}",
        *settings,
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=line",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@contextmanager
def open_trial(engine: Engine, **variables: str) -> Iterator[Trial]:
    """A node of this engine that takes builds; nothing of it is left at the end."""
    here = read_settings()
    changed = {
        "redis_url": SecretStr(services.redis_url()),
        "registry_url": services.registry_url(),
        "namespace": "buildfarm:",
        "signing": "",
    }
    worker = {
        "BUILDFARM_NAMESPACE": "buildfarm:",
        "BUILDFARM_SIGNING": "",
        "BUILDFARM_REDIS_URL": services.redis_url(),
        "BUILDFARM_REGISTRY_URL": services.registry_url(),
        "BUILDFARM_BUILDER": here.builder,
        "BUILDFARM_LAYER_FACTS": "false",
        "BUILDFARM_DISK_FREE_BYTES": "400000000",
        "BUILDFARM_DISK_CLEAN_BYTES": "500000000",
        **variables,
    }
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster(worker, own_services=True))
        farm = stack.enter_context(open_farm(here.model_copy(update=changed)))
        wait(lambda: answers(farm), "Redis and the registry do not answer")
        golden = golden_disk(farm, worker, engine)
        stack.enter_context(_engine_at(_SOCKET, here.docker_url))
        machine = nodes.add(golden, private=["/var/lib/buildfarm"], engine=engine)
        machine.start_worker()
        wait_for_node(farm, machine, lambda node: node.accepting)
        yield Trial(farm, machine)


@contextmanager
def _engine_at(place: Path, url: str) -> Iterator[None]:
    """This machine's engine has its socket at this place too, as nodes see it that start meanwhile."""
    place.touch()
    run("mount", "--bind", Path(url.removeprefix("unix://")).resolve(), place)
    try:
        yield
    finally:
        run("umount", place)
        place.unlink()


def faults(engine: Engine, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """The short faults, on three nodes of this engine."""
    variables = {CHOICE: engine.name, "BUILDFARM_TESTS_NEED_SERVICES": "1"}
    return pytest([], variables, "tests/faults", *arguments, seconds=seconds)
