"""The rendered worker and API, run as processes beside the real engine, Redis and registry.

Commands, environment, probes and preStop are what Helm rendered. What a pod would give is filled in: its name, its
address instead of ::, its Secret, and the engine's socket where the sidecar's would be mounted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.errors import ImageNotFound

from buildfarm.farm import Farm
from buildfarm.model import Build, BuildRequest, State
from buildfarm.settings import Settings
from testkit.builds import farm_alone
from testkit.chart.manifests import CHART, Manifest, only, read, render
from testkit.chart.tools import HELM
from testkit.table import Claims

SECONDS = 120
SOCKET = "unix:///socket/docker.sock"


@dataclass
class Pod:
    """One container's command as a process."""

    container: Manifest
    environment: dict[str, str]
    address: str
    process: subprocess.Popen[bytes]

    def probe(self, kind: str) -> bool:
        """Whether the rendered probe of this kind succeeds now."""
        wanted = self.container[kind]["httpGet"]
        port = next(port["containerPort"] for port in self.container["ports"] if port["name"] == wanted["port"])
        try:
            answer = httpx.get(f"http://{self.address}:{port}{wanted['path']}", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return 200 <= answer.status_code < 400


def run(claims: Claims) -> None:
    with farm_alone("verify-chart") as farm, tempfile.TemporaryDirectory() as folder:
        _run(claims, farm, _rendered(farm.settings), Path(folder))


def _rendered(settings: Settings) -> list[Manifest]:
    release = HELM[-1]
    given = [
        "--set", "redis.enabled=false,registry.enabled=false",
        "--set-string", f"redis.external.url={settings.redis_url.get_secret_value()}",
        "--set-string", f"registry.external.url={settings.registry_url}",
        "--set-string", f"settings.namespace={settings.namespace},settings.builder={settings.builder}",
        "--set-string", f"settings.imager={settings.imager},settings.sandbox_network={settings.sandbox_network}",
    ]  # fmt: skip
    # Below 1.29: there the engine's preStop waits for the worker.
    text, complaint = render(release.helm(), CHART / "ci" / "minimal-values.yaml", "1.28.0", *given)
    if complaint:
        raise SystemExit(complaint)
    return read(text)


def _run(claims: Claims, farm: Farm, manifests: list[Manifest], folder: Path) -> None:
    engine = farm.settings.docker_url
    client = docker.DockerClient(engine)
    image = f"{farm.registry.host}/{farm.builder()}"
    # The reference goes, so that the worker has to pull it; its layers stay under sandboxes of other workers.
    with suppress(ImageNotFound):
        client.images.remove(image, force=True)
    with (
        closing(client),
        _pod(manifests, "api", "127.0.0.3", engine) as api,
        _pod(manifests, "worker", "127.0.0.2", engine) as worker,
    ):
        alive = _until(lambda: worker.probe("livenessProbe"))
        early = worker.probe("readinessProbe") and not _has(client, image)
        ready = _until(lambda: worker.probe("readinessProbe"))
        nodes = [node for node in farm.nodes() if node.accepting and farm.builder().endswith(node.builder)]
        warm = _has(client, image) and len(nodes) == 1
        figure = f"alive without it: {alive}, ready without it: {early}, ready with it: {ready and warm}"
        claims.add(
            "the worker's readiness turns true only after pre-warm", figure, alive and ready and warm and not early
        )
        kinds = ("startupProbe", "livenessProbe", "readinessProbe")
        well = _until(lambda: all(api.probe(kind) for kind in kinds))
        claims.add("the API's startup, liveness and readiness probes succeed", "3 of 3" if well else "not all", well)
        ended = farm.wait(_submit(farm, folder, "echo built").id, timeout_seconds=SECONDS)
        seen = _through_api(farm, api, ended)
        why = f" ({ended.failure.message})" if ended.failure else ""
        figure = f"{ended.state}{why} on {ended.node}; the API says {seen}"
        claims.add("a build passes through both", figure, seen == State.SUCCEEDED)
        _drain(claims, farm, worker, folder)


def _has(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _drain(claims: Claims, farm: Farm, worker: Pod, folder: Path) -> None:
    """TERM to the worker and the engine's preStop at once, as kubelet does it."""
    build = _submit(farm, folder, "echo begun; sleep 6; echo ended")
    _until(lambda: "begun" in "".join(line.text for line in farm.logs(build.id)) or farm.get(build.id).state.final)
    started = time.monotonic()
    worker.process.terminate()
    engine = worker.container["engine"]
    hook = subprocess.Popen(engine["lifecycle"]["preStop"]["exec"]["command"], env={**os.environ, **worker.environment})
    not_ready = _until(lambda: not worker.probe("readinessProbe"))
    waited = hook.poll() is None and worker.process.poll() is None
    code = worker.process.wait(SECONDS)
    hook_code = hook.wait(10)
    ended = farm.get(build.id)
    figure = (
        f"not ready while it drained: {not_ready}; preStop waited: {waited};"
        f" build {ended.state}, attempt {ended.attempt}; worker exit {code}, preStop {hook_code},"
        f" {time.monotonic() - started:.1f} s"
    )
    holds = not_ready and waited and ended.state is State.SUCCEEDED and ended.attempt == 1 and code == hook_code == 0
    claims.add("a drain ends the running build; the engine's preStop waits for the worker", figure, holds)


def _submit(farm: Farm, folder: Path, command: str) -> Build:
    app = folder / f"app-{time.time_ns()}"
    app.mkdir()
    (app / "package.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "scripts": {"build": command}}))
    (app / "Procfile").write_text("web: node -e 0\n")
    source, _ = farm.pack(app, "verify")
    return farm.submit(BuildRequest(tenant="verify", app="chart", source=source))


def _through_api(farm: Farm, api: Pod, build: Build) -> str:
    command = [_program("buildfarm"), "tokens", "make", "--tenant", "verify", "--scope", "read", "--json"]
    made = subprocess.run(command, env=api.environment, capture_output=True, text=True, check=True)
    token = json.loads(made.stdout)["token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"http://{api.address}:8088/v1/builds/{build.id}", headers=headers, trust_env=False)
    return str(answer.json().get("state", answer.status_code))


@contextmanager
def _pod(manifests: list[Manifest], component: str, address: str, engine: str) -> Iterator[Pod]:
    spec = only(manifests, "Deployment", component)["spec"]["template"]["spec"]
    container = next(item for item in spec["containers"] if item["name"] == component)
    container["engine"] = next((item for item in spec["containers"] if item["name"] == "engine"), None)
    environment = _environment(manifests, container, f"farm-buildfarm-{component}-0", address, engine)
    with (Path(tempfile.gettempdir()) / f"verify-chart-{component}.log").open("wb") as log:
        command = [_program(container["command"][0]), *container["command"][1:]]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Pod(container, environment, address, process)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(
    manifests: list[Manifest], container: Manifest, name: str, address: str, engine: str
) -> dict[str, str]:
    values: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "BUILDFARM_STATE_DIRECTORY": "/nonexistent",
    }
    values |= only(manifests, "ConfigMap", "settings")["data"]
    secret = only(manifests, "Secret")["stringData"]
    for item in container["env"]:
        source = item.get("valueFrom", {})
        if "secretKeyRef" in source:
            values[item["name"]] = secret[source["secretKeyRef"]["key"]]
        else:
            values[item["name"]] = name if "fieldRef" in source else item["value"]
    filled = {"::": address, SOCKET: engine}  # all addresses of a pod are one of the loopback network here
    return {key: filled.get(value, value) for key, value in values.items()}


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False
