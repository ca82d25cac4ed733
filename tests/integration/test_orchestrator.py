"""The example orchestrator on a real engine: it switches without a lost request, and a bad version changes nothing."""

from __future__ import annotations

import gzip
import io
import socket
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import httpx
import pytest

from buildfarm.client import Client
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import LayerDigests
from buildfarm.releases.compose import release_of
from buildfarm.releases.rollouts.observations import Observations
from buildfarm.releases.rollouts.rules.reports import Status
from buildfarm.releases.shelf import mount_base, put_image
from examples.orchestrator.containers import Containers
from examples.orchestrator.front import Front
from examples.orchestrator.orchestrator import Orchestrator
from examples.orchestrator.webhooks import receiver
from localfarm.packages import ensure_packages, find_program
from testkit.archive import Life
from testkit.builds import wait_for
from testkit.registry.deployed import Deployed
from testkit.serving import free_port, lasting_ports, serving

SERVER = """
import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.5)
        body = os.environ["TEXT"].encode()
        self.send_response(500 if body == b"bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@contextmanager
def serving_text(text: str):
    """An HTTP server that answers with this text; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class App:
    """An app on the farm's real base, published without a build."""

    farm: object
    name: str

    def publish(self, text: str) -> str:
        """Its newest image answers with this text; returns the digest."""
        registry, repository = self.farm.registry, f"apps/{self.name}"
        source, _, digest = self.farm.builder().partition("@")
        base = Deployed(self.farm).read(f"{source}@{digest}")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("app/server.py")
            entry.size, entry.mode = len(SERVER), 0o644
            tar.addfile(entry, io.BytesIO(SERVER.encode()))
        plain = archive.getvalue()
        packed = gzip.compress(plain, mtime=0)
        layer = LayerDigests(registry.put_blob(repository, packed), Digest.of(plain), len(packed), len(plain))
        changes = RuntimeConfig(
            entrypoint=("python3", "/app/server.py"), env={"TEXT": text}, exposed_ports=("8080/tcp",)
        )
        release = release_of(
            base, [AddedLayer(layer, "app")], changes=changes, kind="docker", compression="gzip", registry=registry.host
        )  # fmt: skip
        mount_base(registry, repository, base)
        image = put_image(registry, repository, release, base, look=False)
        self.farm.database.client.hset(self.farm.database.key("tags"), repository, image.digest)
        registry.move_tag(repository, "latest", lambda: self.farm.records.tag_target(repository))
        return str(image.digest)


@dataclass
class Host:
    """An orchestrator that a test calls step by step."""

    app: App
    api: object
    client: Client
    containers: Containers
    front: Front
    port: int

    def orchestrator(self) -> Orchestrator:
        """One that has just been started: it has seen nothing yet."""
        front, ports = Front(self.front.folder, self.front.nginx), {self.app.name: self.port}
        front.start()
        return Orchestrator(self.client, self.containers, front, ports, patience_seconds=60.0)

    def get(self, path: str = "/") -> str:
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30, trust_env=False)
        return f"{answer.status_code} {answer.text}"

    def images(self) -> dict[str, bool]:
        """The images of its containers, and whether each runs."""
        return {one.image: bool(one.address) for one in self.containers.all()}

    def reported(self, image: str) -> Status | None:
        database = self.app.farm.database
        found = Observations(database).of([self.app.name])[self.app.name]
        return found.status(image, database.now())


@pytest.fixture
def host(farm, tmp_path):
    ensure_packages({"nginx": "nginx-light"}, print)
    tenant = farm.settings.namespace.strip(":")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with ExitStack() as stack:
        api = stack.enter_context(serving(farm, BUILDFARM_WEBHOOK_NETWORKS="127.0.0.0/8"))
        client = stack.enter_context(Client(api.url, api.token(None, "read", "submit")))
        engine = docker.DockerClient(farm.settings.docker_url)
        stack.callback(engine.close)
        containers = Containers(engine, tenant, farm.registry.host)
        front = Front(tmp_path, find_program("nginx"))
        stack.callback(front.stop)
        stack.callback(_remove_all, containers)
        yield Host(App(farm, f"{tenant}/web"), api, client, containers, front, free_port())


def _remove_all(containers):
    for one in containers.all():
        containers.end(one, remove=True)


def test_a_version_follows_another_without_a_lost_request(host):
    first = host.app.publish("one")
    host.orchestrator().look(host.app.name)
    assert host.get() == "200 one"
    assert host.reported(first) is Status.HEALTHY
    assert [one.images for one in host.client.images_in_use()] == [(first,)]
    second = host.app.publish("two")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(host.get, "/slow")
        closed, answers = threading.Event(), []
        always = pool.submit(lambda: [answers.append(host.get()) for _ in iter(closed.is_set, True)])
        host.orchestrator().look(host.app.name)
        closed.set()
        always.result()
        assert slow.result() == "200 one", "a request on the old container is answered before it stops"
    assert set(answers) == {"200 one", "200 two"}, "each request in between has an answer"
    assert host.images() == {second: True}
    assert host.reported(second) is Status.HEALTHY


def test_a_bad_version_leaves_the_old_one_running_and_is_reported(host):
    good = host.app.publish("good")
    host.orchestrator().look(host.app.name)
    bad = host.app.publish("bad")
    orchestrator = host.orchestrator()
    orchestrator.patience_seconds = 2.0
    orchestrator.look(host.app.name)
    assert host.get() == "200 good"
    assert host.reported(bad) is Status.UNHEALTHY
    assert host.images() == {good: True, bad: False}
    again = host.orchestrator()
    again.look(host.app.name)
    assert host.images() == {good: True, bad: False}, "it is not started again at once, after a restart either"
    host.app.publish("good")
    again.look(host.app.name)
    assert host.images() == {good: True}
    assert host.reported(good) is Status.HEALTHY


def test_an_orchestrator_that_is_killed_between_start_and_switch_goes_on(host):
    first = host.app.publish("one")
    host.orchestrator().look(host.app.name)
    second = host.app.publish("two")
    host.containers.start(host.app.name, second)
    assert host.images() == {first: True, second: True}
    assert host.get() == "200 one"
    host.orchestrator().look(host.app.name)
    assert host.get() == "200 two"
    assert host.images() == {second: True}


def test_a_signed_webhook_of_a_build_wakes_its_app(host):
    life, port, woken = Life(host.app.farm), free_port(), []
    with host.api.as_(None, "submit") as operator:
        hook = {"url": f"http://127.0.0.1:{port}/", "rotate": True}
        secret = operator.put("/v1/webhook", params={"tenant": life.tenant}, json=hook).json()["secret"]
    with receiver(port, [secret], woken.append):
        forged = httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", trust_env=False, timeout=30)
        assert (forged.status_code, woken) == (401, [])
        time_of_life = time.time()
        life.end("web")
        wait_for(lambda: woken, 30, lambda: f"since {time_of_life}")
    assert woken == [host.app.name]


def test_a_front_that_is_killed_before_its_reload_is_right_after_a_restart(host):
    first = host.app.publish("one")
    host.orchestrator().look(host.app.name)
    second = host.app.publish("two")
    started = host.containers.start(host.app.name, second)
    [file] = (host.front.folder / "apps").iterdir()
    [old] = [one for one in host.containers.all() if one.image == first]
    file.write_text(file.read_text().replace(old.address, started.address))
    assert host.get() == "200 one", "nginx has not read it"
    host.orchestrator().look(host.app.name)
    assert host.get() == "200 two"
    assert host.images() == {second: True}


def test_a_port_that_another_program_has_holds_up_no_other_app(tmp_path):
    ensure_packages({"nginx": "nginx-light"}, print)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    front = Front(tmp_path, find_program("nginx"))
    front.start()
    try:
        with socket.socket() as other, serving_text("good") as address:
            other.bind(("127.0.0.1", 0))
            taken, (port,) = other.getsockname()[1], lasting_ports(1)
            with pytest.raises(OSError, match=f"port {taken} of t/a is taken"):
                front.route("t/a", taken, address)
            front.route("t/b", port, address)
            assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).text == "good"
        front.route("t/a", taken, address)
    finally:
        front.stop()
