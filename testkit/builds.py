"""Real build nodes, builds on them, and their own network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest
from buildfarm.settings import Settings, read_settings
from localfarm import network
from localfarm.farm import clean_up
from workers.engine import open_engine

EXAMPLES = Path(__file__).parents[1] / "examples"
READY_SECONDS = 120
_POOL = ("buildfarm-ready-", "buildfarm-pause-")  # how the names of the sandbox pool begin
_WORKER = """
import sys
from importlib import import_module
for name, value in {constants}.items():
    module, _, constant = name.rpartition(".")
    assert hasattr(import_module(module), constant), name
    setattr(sys.modules[module], constant, value)
from workers.__main__ import main
sys.exit(main())
"""


@contextmanager
def builds_network(settings: Settings, name: str) -> Iterator[str]:
    """A network of these tests' own: network rules belong to a bridge, and other nodes' stay as they are."""
    client = open_engine(settings.docker_url)
    try:
        network.ensure_networks(client, name, lambda _: None)
        try:
            yield name
        finally:
            network.remove_networks(client, name)
    finally:
        client.close()


def gateway_of(name: str) -> str:
    """This machine's address on a network of the engine."""
    ask = ["docker", "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", name]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class NodeProcess:
    """A build node in its own process."""

    id: str
    process: subprocess.Popen[bytes]
    workspaces: Path
    log: Path

    def left_behind(self) -> list[str]:
        """Containers, workspaces and mounts of this node that are there now, without those of the sandbox pool."""
        return [name for name in self._there() if not any(pool in name for pool in _POOL)]

    def pooled(self) -> list[str]:
        """Those of the sandbox pool: its pause containers, and sandboxes that wait, that builds have or that go."""
        return [name for name in self._there() if any(pool in name for pool in _POOL)]

    def _there(self) -> list[str]:
        ask = ["docker", "ps", "--all", "--format={{.Names}}", "--filter", f"label=buildfarm.node={self.id}"]
        containers = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
        folder = self.workspaces / self.id
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"{folder}/" in line]
        return containers + [path.name for path in (folder.iterdir() if folder.is_dir() else ())] + mounts


@dataclass
class Builds:
    """Submits builds and waits for their end."""

    farm: Farm
    node: NodeProcess | None

    @property
    def tenant(self) -> str:
        """One of this run's own: no app of it was ever built before."""
        return self.farm.settings.namespace.strip(":")

    def __call__(self, directory: Path, app: str = "app", **fields: Any) -> Build:
        """The build of this folder, ended."""
        source, _ = self.farm.pack(directory, self.tenant)
        return self.request(source=source, app=app, **fields)

    def request(self, **fields: Any) -> Build:
        """The build of this request, ended."""
        return self.ended(self.submit(**fields))

    def submit(self, **fields: Any) -> str:
        """Submits a build of this run's tenant, and returns its id."""
        return self.farm.submit(BuildRequest(tenant=self.tenant, **{"app": "app", **fields})).id

    def ended(self, build_id: str) -> Build:
        """Follows the build to its end."""
        items = [item for item in self.farm.follow(build_id) if isinstance(item, Build)]
        return items[-1]

    def log(self, build: Build) -> str:
        """The whole log, a line each."""
        return "\n".join(line.text for line in self.farm.logs(build.id))


@contextmanager
def build_node(
    farm: Farm, *, code: Path | None = None, constants: Mapping[str, float] | None = None, **variables: str
) -> Iterator[NodeProcess]:
    """A node of this farm that takes builds, for the length of the block; it is drained at the end.

    ``code`` is a folder with another version of the farm's code. ``constants`` are other values for constants of
    modules, such as ``{"workers.node._CLEAN_SECONDS": 1}``: a test need not wait for as long as a farm does.
    """
    node_id = f"test-{uuid.uuid4().hex[:8]}"
    workspaces = Path("/var/lib/buildfarm/test-workspaces")
    workspaces.mkdir(parents=True, exist_ok=True)
    log = workspaces / f"{node_id}.log"
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_NODE_ID": node_id,
        "BUILDFARM_WORKSPACE_DIRECTORY": str(workspaces),
        "BUILDFARM_CACHE_DIRECTORY": str(workspaces / f"{node_id}.caches"),
        "BUILDFARM_TOOL_DIRECTORY": str(workspaces / f"{node_id}.tools"),
        "BUILDFARM_LOG_FORMAT": "json",
        "BUILDFARM_LAYER_FACTS": "false",  # or each node would read the whole builder
        "BUILDFARM_SANDBOX_NETWORK": farm.settings.sandbox_network,
        # What tests serve to builds, they serve on the builds' own bridge.
        "BUILDFARM_SANDBOX_ALLOW": f"{gateway_of(farm.settings.sandbox_network)}/32",
        **({"PYTHONPATH": str(code)} if code else {}),
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *_worker(constants or {})],
            cwd=code, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    node = NodeProcess(node_id, process, workspaces, log)
    try:
        wait_for(lambda: _accepts(farm, node), READY_SECONDS, lambda: log.read_text()[-2000:])
        yield node
    finally:
        end_node(process, 30, farm.settings, workspaces, node_id)


def _worker(constants: Mapping[str, float]) -> Sequence[str]:
    return ("-c", _WORKER.format(constants=constants)) if constants else ("-m", "workers")


def end_node(
    process: subprocess.Popen[bytes], seconds: float, settings: Settings, workspaces: Path, node_id: str
) -> None:
    """Ends a node, after so many seconds by force, and removes what it had outside Redis and the registry.

    What a node that was not killed has left of its builds stays in its folder, and has to be seen.
    """
    terminate(process, seconds)
    if process.returncode < 0:
        own = {"node_id": node_id, "workspace_directory": workspaces}
        with closing(open_engine(settings.docker_url)) as client:
            clean_up(client, settings.model_copy(update=own))
    for path in workspaces.glob(f"{node_id}.*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with suppress(OSError):
        (workspaces / node_id).rmdir()


def terminate(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Asks a process to end, and after so many seconds makes it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def farm_alone(name: str, **changes: Any) -> Iterator[Farm]:
    """A farm without nodes, in a namespace and a network that nobody else uses, named after ``name``.

    ``changes`` are settings that differ.
    """
    own = f"{name}-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        network = stack.enter_context(builds_network(read_settings(), f"buildfarm-{own}"))
        settings = read_settings().model_copy(update={"namespace": f"{own}:", "sandbox_network": network, **changes})
        stack.callback(empty_namespace, settings)
        yield stack.enter_context(open_farm(settings))


@contextmanager
def farm_with_node(
    name: str, *, code: Path | None = None, constants: Mapping[str, float] | None = None, **variables: str
) -> Iterator[Builds]:
    """The same with one node."""
    with farm_alone(name) as farm, build_node(farm, code=code, constants=constants, **variables) as node:
        yield Builds(farm, node)


def wait_for(check: Callable[[], object], seconds: float, told: Callable[[], object] = str) -> None:
    """Returns as soon as ``check`` is true; fails with what ``told`` says when it is not in time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s: {told()}"
        pause.wait(0.05)


def promised(seconds: float) -> float:
    """How long a test allows for what the farm promises within so many seconds.

    That long on a quiet machine (`make faults`), three times as long where tests run beside other work, and 0.7 s more
    at least: such a machine may stand still for a moment. A promise that is broken is broken by far: what should be
    pushed is polled, what should end at once waits for a lease.
    """
    return seconds if os.environ.get("BUILDFARM_TESTS_STRICT") else max(3 * seconds, seconds + 0.7)


def repeats(few: int, many: int) -> int:
    """How often a test tries what chance decides: ``few`` times in `make test`, ``many`` times in `make strict`."""
    return many if os.environ.get("BUILDFARM_TESTS_STRICT") else few


def write_files(directory: Path, files: Mapping[str, str]) -> Path:
    """Writes a folder's files by their names, and returns the folder."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


def _accepts(farm: Farm, node: NodeProcess) -> bool:
    assert node.process.poll() is None, node.log.read_text()[-2000:]
    return any(found.id == node.id and found.accepting for found in farm.nodes())


def empty_namespace(settings: Settings) -> None:
    """Deletes every key of a test's farm."""
    with open_farm(settings) as farm:
        client = farm.database.client
        for key in client.scan_iter(f"{settings.namespace}*", count=1000):
            client.delete(key)
