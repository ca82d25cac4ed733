"""The arena: one build node of the real farm with small limits, traps around it, and attackers' sources to build."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, State
from buildfarm.oci.manifest import Manifest
from buildfarm.settings import read_settings
from buildfarm.sources.address import ArchiveSource
from localfarm import network
from testkit.builds import empty_namespace, end_node, wait_for
from testkit.serving import free_port
from tests.hostile.leavings import leavings
from tests.hostile.traps import Trap, another_machine, open_trap, serve
from tests.hostile.watch import REPORT, read_report
from workers.engine import open_engine

MIB = 1024 * 1024
READY_SECONDS = 120
BUILD_SECONDS = 300
LINKS = 500  # of a haunted app's cache

LIMITS = {
    "BUILDFARM_SLOTS": "2",
    "BUILDFARM_BUILD_SECONDS": "60",
    "BUILDFARM_SILENCE_SECONDS": "20",
    "BUILDFARM_MEMORY_BYTES": str(400 * MIB),
    "BUILDFARM_WORKSPACE_BYTES": str(300 * MIB),
    "BUILDFARM_WORKSPACE_INODES": "30000",
    "BUILDFARM_IMAGE_BYTES": str(60 * MIB),
    "BUILDFARM_CACHE_BYTES": str(20 * MIB),
    "BUILDFARM_LOG_BYTES": str(MIB),
    "BUILDFARM_PIDS_MAX": "128",
    # What is there after a build was left behind by it.
    "BUILDFARM_WARM_SANDBOXES": "0",
    "BUILDFARM_LAYER_FACTS": "false",  # or the node would read the whole builder, and a reading looks like a leak
}


@dataclass
class Arena:
    """A farm of its own namespace, its node, and what attacks need."""

    farm: Farm
    node_id: str
    workspaces: Path
    process: subprocess.Popen[bytes]
    log_file: Path
    folder: Path  # scratch, removed at the end
    gateway: str
    web: str  # URL of the one port that builds are allowed to reach here
    web_root: Path
    trap: Trap  # a port of the node that nobody allowed
    metrics_port: int
    pool: int = 0  # sandboxes that the node keeps ready
    haunted: bool = False  # whether every app has a cache of a hostile build, before anything else is built of it
    outside: tuple[str, ...] = ()  # addresses of another machine, each with a web server on port 80
    opened: float = field(default_factory=time.time)
    problems: list[str] = field(default_factory=list)
    haunts: set[tuple[str, str]] = field(default_factory=set)  # tenants and apps that have one

    @property
    def tenant(self) -> str:
        """One of this run's own."""
        return self.farm.settings.namespace.strip(":")

    def source(self, files: dict[str, str | bytes]) -> Path:
        """A directory with these files."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    def submit(self, directory: Path, app: str, tenant: str = "", **fields: Any) -> Build:
        """Starts a build of a directory, of this run's tenant or of another."""
        tenant = tenant or self.tenant
        source, _ = self.farm.pack(directory, tenant)
        return self._send(BuildRequest(tenant=tenant, app=app, source=source, **fields))

    def script(
        self, text: str, app: str = "attack", files: dict[str, str | bytes] | None = None, **fields: Any
    ) -> Build:
        """Starts a build whose build script, run by the real Node buildpack, is this bash text."""
        package = json.dumps({"scripts": {"build": "bash attack.sh"}})
        base = {"package.json": package, "Procfile": "web: true", "attack.sh": f"{HELPERS}\n{text}\n"}
        return self.submit(self.source({**base, **(files or {})}), app, **fields)

    def archive(self, name: str, app: str = "attack") -> Build:
        """Starts a build of an archive in the web root."""
        digest = hashlib.sha256((self.web_root / name).read_bytes()).hexdigest()
        return self.url(f"{self.web}/{name}", digest, app)

    def url(self, url: str, sha256: str = "0" * 64, app: str = "attack") -> Build:
        """Starts a build of an archive at an address."""
        source = ArchiveSource(url=url, sha256=sha256)
        return self._send(BuildRequest(tenant=self.tenant, app=app, source=source))

    def _send(self, request: BuildRequest) -> Build:
        """Submits it, in a haunted arena after a hostile build of the same app."""
        if self.haunted and (request.tenant, request.app) not in self.haunts:
            self.haunts.add((request.tenant, request.app))
            first = self.ended(self.script(leavings(LINKS, plain=True), request.app, tenant=request.tenant))
            assert first.state is State.SUCCEEDED, first.failure
            self.wait_for_cache(request.app, tenant=request.tenant)
            self.wait_for_snapshot(request.app, request.tenant)
        return self.farm.submit(request)

    def cache(self, app: str, tenant: str = "") -> str:
        """The digest of an app's cache; empty if there is none."""
        repository = f"caches/{tenant or self.tenant}/{app}"
        registry = self.farm.registry
        return str(registry.get_manifest(repository, "cache")[2]) if registry.has_manifest(repository, "cache") else ""

    def wait_for_cache(self, app: str, before: str = "", tenant: str = "") -> None:
        """Returns when the app has another cache than before: it is kept after the build's end was told."""
        wait_for(lambda: self.cache(app, tenant) != before, 60, lambda: "the cache was not kept")

    def wait_for_snapshot(self, app: str, tenant: str = "") -> None:
        """Returns when the node has the app's cache as a snapshot: the next build begins on it."""
        repository = f"caches/{tenant or self.tenant}/{app}"
        digest = self.farm.registry.read_manifest(repository, "cache")[0].layers[0].digest
        name = f"{self.node_id}.snapshots/{digest.hex}*"
        wait_for(lambda: any(self.workspaces.glob(name)), 60, lambda: "there is no snapshot")

    def ended(self, build: Build) -> Build:
        """The build when it has ended, however that was."""
        deadline = time.monotonic() + BUILD_SECONDS
        pause = threading.Event()
        while not (found := self.farm.get(build.id)).state.final:
            if time.monotonic() > deadline:
                self.farm.cancel(build.id)
                raise AssertionError(f"build {build.id} does not end: {self.text(build)[-500:]}")
            pause.wait(0.1)
        return found

    def text(self, build: Build) -> str:
        """The build's log."""
        return "\n".join(line.text for line in self.farm.logs(build.id))

    def layers(self, build: Build) -> list[tuple[str, bytes]]:
        """Digest and bytes (compressed) of an image's own layers."""
        result = build.result
        assert result is not None, build.failure
        own = [layer for layer in result.layers if layer.origin != "builder"]
        return [
            (layer.digest, b"".join(self.farm.registry.get_blob(result.repository, layer.digest, limit_bytes=1 << 31)))
            for layer in own
        ]

    def manifest(self, build: Build) -> Manifest:
        """Of an image."""
        assert build.result is not None, build.failure
        media_type, content, _ = self.farm.registry.get_manifest(build.result.repository, build.result.digest)
        return Manifest.parse(content, media_type)

    def left_behind(self) -> list[str]:
        """Containers, workspaces and mounts of the node that are there now, without those that wait for a build."""
        waiting, there = self._waiting(), self._there()
        pauses = [found for found in there if found.startswith("buildfarm-pause-")]
        # Each sandbox that waits has a pause container, and as many are spare.
        expected = (*waiting[: self.pool], *pauses[: 2 * self.pool])
        return [found for found in there if not any(name in found for name in expected)]

    def _waiting(self) -> list[str]:
        """Names of ready sandboxes that nothing was ever built in."""
        ready = sorted((self.workspaces / self.node_id).glob("buildfarm-ready-*"))
        return [path.name for path in ready if not any((path / "files").glob("[act]*/*"))]

    def _there(self) -> list[str]:
        ask = ["docker", "ps", "--all", "--format={{.Names}}", "--filter", f"label=buildfarm.node={self.node_id}"]
        containers = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
        folder = self.workspaces / self.node_id
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"{folder}/" in line]
        return containers + [path.name for path in (folder.iterdir() if folder.is_dir() else ())] + mounts

    def reached(self) -> tuple[int, list[str]]:
        """How often the node reached a build's files by the door, and each time that it did otherwise."""
        return read_report(self.folder / "watch")

    def is_as_before(self, seconds: float = 30) -> str:
        """What is wrong with the node after an attack; empty if nothing is: it is clean, and builds."""
        deadline = time.monotonic() + seconds
        while left := self.left_behind():
            if time.monotonic() > deadline:
                return f"left behind: {left[0]}"
            time.sleep(0.05)
        if self.process.poll() is not None:
            return f"the node ended: {self.log_file.read_text()[-300:]}"
        after = self.ended(self.submit(self.source({"index.html": "after"}), "after"))
        return "" if after.state is State.SUCCEEDED else f"the next build {after.state}: {after.failure}"


HELPERS = """
# through NAME COMMAND...: the command must fail
through() { local name=$1; shift; if "$@" >/dev/null 2>&1; then echo "THROUGH $name"; else echo "held $name"; fi; }
# connect HOST PORT: whether a connection comes about
connect() { timeout 3 bash -c "</dev/tcp/$1/$2"; }
"""


@contextmanager
def open_arena(*, haunted: bool = False, **variables: str) -> Iterator[Arena]:
    """An arena on the local farm's services. Raises a BuildfarmError if they are not up."""
    own = read_settings().model_copy(
        update={"namespace": f"hostile-{uuid.uuid4().hex[:8]}:", "sandbox_network": "buildfarm-hostile"}
    )
    if "BUILDFARM_REDIS_URL" in variables:
        own = own.model_copy(update={"redis_url": SecretStr(variables["BUILDFARM_REDIS_URL"])})
    with ExitStack() as undo:
        undo.callback(empty_namespace, own)
        farm = undo.enter_context(open_farm(own))
        farm.registry.ping()
        farm.records.queued_count()
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="buildfarm-hostile-")))
        client = open_engine(own.docker_url)
        undo.callback(client.close)
        network.ensure_networks(client, own.sandbox_network, lambda _: None)
        undo.callback(network.remove_networks, client, own.sandbox_network)
        gateway = client.api.inspect_network(own.sandbox_network)["IPAM"]["Config"][0]["Gateway"]
        web_root = folder / "web"
        web_root.mkdir()
        port = undo.enter_context(serve(web_root, gateway))
        trap = undo.enter_context(open_trap())
        outside = undo.enter_context(another_machine(web_root))
        metrics_port = free_port()
        variables = {
            **LIMITS,
            "BUILDFARM_METRICS_PORT": str(metrics_port),
            "BUILDFARM_SANDBOX_ALLOW": f"{gateway}/32:{port}",
            **variables,
        }
        node_id = f"hostile-{uuid.uuid4().hex[:8]}"
        process, workspaces, log = undo.enter_context(_node(farm, node_id, folder, variables))
        url = f"http://{gateway}:{port}"
        yield Arena(
            farm, node_id, workspaces, process, log, folder, gateway, url, web_root, trap, metrics_port,
            int(variables["BUILDFARM_WARM_SANDBOXES"]), haunted, outside,
        )  # fmt: skip


@contextmanager
def _node(
    farm: Farm, node_id: str, folder: Path, variables: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    workspaces = Path("/var/lib/buildfarm/hostile-workspaces")
    workspaces.mkdir(parents=True, exist_ok=True)
    log = folder / "node.log"
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_NODE_ID": node_id,
        "BUILDFARM_WORKSPACE_DIRECTORY": str(workspaces),
        "BUILDFARM_CACHE_DIRECTORY": str(folder / "caches"),
        "BUILDFARM_SANDBOX_NETWORK": farm.settings.sandbox_network,
        "BUILDFARM_LOG_FORMAT": "json",
        REPORT: str(folder / "watch"),
        **variables,
    }
    command = [sys.executable, "-m", "tests.hostile.watched_node"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not any(node.id == node_id and node.accepting for node in farm.nodes()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield process, workspaces, log
    finally:
        end_node(process, 60, farm.settings, workspaces, node_id)
