"""The arena: one build node of the real farm with small limits, traps around it, and attackers' sources to build on it.

A trap is a listener that counts who gets through to it. The node itself reaches every trap; a build must reach none.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, State
from buildfarm.oci.manifest import Manifest
from buildfarm.settings import Settings, read_settings
from buildfarm.sources.address import ArchiveSource
from localfarm import network
from tests.hostile.leavings import leavings
from tests.hostile.watch import REPORT, read_report
from workers.engine import open_engine

MIB = 1024 * 1024
READY_SECONDS = 120
BUILD_SECONDS = 300
METADATA = "169.254.169.254"
WIRESERVER = "168.63.129.16"  # Azure's, a public address
WIRESERVER_PORTS = (80, 32526, 53)
PRIVATE = "10.77.77.77"
OUTSIDE = "buildfarm-meta"
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
}


@dataclass
class Trap:
    """A TCP port; ``seen`` counts the connections that got through."""

    address: str
    port: int
    seen: int = 0


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
        deadline = time.monotonic() + 60
        pause = threading.Event()
        while self.cache(app, tenant) == before:
            assert time.monotonic() < deadline, "the cache was not kept"
            pause.wait(0.1)

    def wait_for_snapshot(self, app: str, tenant: str = "") -> None:
        """Returns when the node has the app's cache as a snapshot: the next build begins on it."""
        repository = f"caches/{tenant or self.tenant}/{app}"
        digest = self.farm.registry.read_manifest(repository, "cache")[0].layers[0].digest
        deadline = time.monotonic() + 60
        pause = threading.Event()
        while not any(self.workspaces.glob(f"{self.node_id}.snapshots/{digest.hex}*")):
            assert time.monotonic() < deadline, "there is no snapshot"
            pause.wait(0.1)

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
        waiting = self._waiting()
        return [found for found in self._there() if not any(name in found for name in waiting)] + waiting[self.pool :]

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

    def is_as_before(self, seconds: float = 15) -> str:
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
        undo.callback(_empty, own)
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
        port = undo.enter_context(_web(web_root, gateway))
        trap = undo.enter_context(_trap())
        outside = undo.enter_context(_another_machine(web_root))
        with socket.create_server(("127.0.0.1", 0)) as free:
            metrics_port = free.getsockname()[1]
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
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        (workspaces / f"{node_id}.lock").unlink(missing_ok=True)
        shutil.rmtree(workspaces / node_id, ignore_errors=True)


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Files, and redirects: /to/<address> leads to http://<address>."""

    def send_head(self) -> Any:
        if "/to/" in self.path:
            self.send_response(302)
            self.send_header("Location", "http://" + self.path.partition("/to/")[2])
            self.end_headers()
            return None
        return super().send_head()

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def _web(directory: Path, address: str) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer((address, 0), functools.partial(_Pages, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _trap() -> Iterator[Trap]:
    """A port on every address of this machine."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        trap = Trap("0.0.0.0", server.getsockname()[1])

        def count() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                trap.seen += 1
                with suppress(OSError):
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nthrough")
                    connection.close()

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        yield trap
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def _another_machine(web_root: Path) -> Iterator[tuple[str, ...]]:
    """A network namespace with metadata addresses and a private one, to which this machine has a route."""
    addresses = (METADATA, WIRESERVER, PRIVATE)
    with ExitStack() as undo:
        for left in (["ip", "netns", "del", OUTSIDE], ["ip", "link", "del", "bfmeta"]):
            subprocess.run(left, capture_output=True, check=False)
        _run("ip", "netns", "add", OUTSIDE)
        undo.callback(_run, "ip", "netns", "del", OUTSIDE)
        _run("ip", "link", "add", "bfmeta", "type", "veth", "peer", "name", "eth0", "netns", OUTSIDE)
        _run("ip", "addr", "add", "10.77.78.1/30", "dev", "bfmeta")
        _run("ip", "link", "set", "bfmeta", "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", "10.77.78.2/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            *(("addr", "add", f"{address}/32", "dev", "lo") for address in addresses),
            ("route", "add", "default", "via", "10.77.78.1"),
        ):
            _run("ip", "-n", OUTSIDE, *command)
        for address in addresses:
            _run("ip", "route", "add", f"{address}/32", "via", "10.77.78.2")
        for port in WIRESERVER_PORTS:
            inside = ["nsenter", f"--net=/run/netns/{OUTSIDE}", sys.executable, "-m", "http.server", str(port)]
            server = subprocess.Popen(
                inside, cwd=web_root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            undo.callback(server.wait)
            undo.callback(server.kill)
        deadline = time.monotonic() + 10
        while not all(_reaches(address, port) for address in addresses for port in WIRESERVER_PORTS):
            assert time.monotonic() < deadline, "this machine does not reach its own traps: they would prove nothing"
            time.sleep(0.1)
        yield addresses


def _reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _empty(settings: Settings) -> None:
    with open_farm(settings) as farm:
        for key in farm.database.client.scan_iter(f"{settings.namespace}*", count=1000):
            farm.database.client.delete(key)
