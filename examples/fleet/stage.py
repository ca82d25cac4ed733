"""What the story is played on: a farm, its base and a patched one, and an orchestrator. It leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, State
from buildfarm.releases.base import read_base
from buildfarm.settings import read_settings
from examples.orchestrator.containers import APP, OWNER, Containers
from localfarm.packages import ensure_packages
from testkit.builds import terminate
from testkit.live import Live, live_farm
from testkit.registry.builder import push_patched
from testkit.serving import free_port, lasting_ports
from workers.builder import Builder

ROOT = Path(__file__).parents[2]
BASE = "org.opencontainers.image.base.digest"
PATCH = {"etc/base-fixes": "a fix of libssl\n"}


@dataclass(frozen=True)
class Stage:
    """The farm and the apps on it. Its tenant and the repository of its bases are used by nothing else."""

    live: Live
    tenant: str
    base: str  # repository@digest
    patched: str  # likewise
    ports: dict[str, int]  # by app
    containers: Containers

    @property
    def farm(self) -> Farm:
        """The farm."""
        return self.live.farm

    def build(self, folders: Mapping[str, Path]) -> None:
        """Builds the apps, all at once. Raises SystemExit if a build does not succeed."""
        for app, ended in self.ended(folders, 120).items():
            if ended.state is not State.SUCCEEDED:
                raise SystemExit(f"The build of {app} ended as {ended.state}: {ended.failure}")

    def ended(self, folders: Mapping[str, Path], timeout_seconds: float) -> dict[str, Build]:
        """Builds the apps, all at once, and returns each build when all have ended or waited for so long in turn."""
        sources = {app: self.farm.pack(folder, self.tenant)[0] for app, folder in folders.items()}
        requests = [BuildRequest(tenant=self.tenant, app=app, source=source) for app, source in sources.items()]
        builds = {request.app: self.farm.submit(request) for request in requests}
        return {app: self.farm.wait(build.id, timeout_seconds=timeout_seconds) for app, build in builds.items()}

    def answer(self, app: str) -> str:
        """What the app answers on its port; the error if it does not."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ports[app]}/", timeout=5, trust_env=False)
        except httpx.TransportError as error:
            return type(error).__name__
        text = answer.text.strip()
        with suppress(ValueError):  # Perl writes the members of an object in any order
            text = json.dumps(json.loads(text), sort_keys=True)
        return f"{answer.status_code} {text}"

    def bases(self) -> dict[str, str]:
        """The base below each running container, by app; containers have their image's labels."""
        running = self.containers.engine.containers.list(
            filters={"label": f"{OWNER}={self.tenant}"}, ignore_removed=True
        )
        return {one.labels[APP].partition("/")[2]: one.labels[BASE] for one in running}


@contextmanager
def stage(apps: list[str], patch: Mapping[str, str | bytes] = PATCH, *, patience_seconds: int = 8) -> Iterator[Stage]:
    """A farm with an orchestrator that waits for these apps; the patched base has the files of ``patch``.

    ``patience_seconds`` is how long a new container may take until its first good answer.
    """
    ensure_packages({"nginx": "nginx-light"}, print)
    tenant = f"fleet-{os.getpid()}"
    with ExitStack() as stack:
        repository = f"demo/{tenant}"
        stack.callback(_forget_images, tenant, repository)
        settings = read_settings()
        with open_farm(settings) as farm:
            base, patched = _bases(farm, repository, patch)
        variables = {"BUILDFARM_WEBHOOK_NETWORKS": "127.0.0.0/8", "BUILDFARM_BUILDER": base}
        live = stack.enter_context(live_farm(**variables))
        live.farm.promote_builder(base)
        containers = Containers(docker.DockerClient(settings.docker_url), tenant, live.farm.registry.host)
        stack.callback(containers.engine.close)
        ports = dict(zip(apps, lasting_ports(len(apps)), strict=True))  # nginx listens on them much later
        found = Stage(live, tenant, base, patched, ports, containers)
        stack.enter_context(_orchestrator(found, patience_seconds))
        yield found


@contextmanager
def _orchestrator(found: Stage, patience_seconds: int) -> Iterator[None]:
    """The orchestrator as a process; its containers end with it."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        Path(folder).chmod(0o755)  # nginx's workers are another user
        environment = os.environ | {
            "BUILDFARM_URL": found.live.api.url,
            "BUILDFARM_TOKEN": found.live.api.token(None, "read", "submit"),
            "DOCKER_HOST": found.farm.settings.docker_url,
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        options = ["--name", found.tenant, "--folder", folder, "--registry", found.farm.registry.host]
        options += ["--port", str(free_port()), "--patience-seconds", str(patience_seconds)]
        command = [sys.executable, "-m", "examples.orchestrator"]
        apps = [f"{found.tenant}/{app}={port}" for app, port in found.ports.items()]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "run", *apps, *options], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                terminate(process, 30)
                subprocess.run([*command, "down", *options], cwd=ROOT, env=environment, check=False, stderr=log)
                if sys.exc_info()[0] not in (None, KeyboardInterrupt):
                    print((Path(folder) / "log").read_text()[-3000:], file=sys.stderr)


def _bases(farm: Farm, repository: str, patch: Mapping[str, str | bytes]) -> tuple[str, str]:
    """The farm's base in a repository that only this story uses, so that no tag of others moves; and a patched one."""
    source, _, digest = farm.builder().partition("@")
    base = read_base(farm.registry, source, farm.registry.read_manifest(source, digest)[1])
    for layer in base.manifest.layers:
        farm.registry.mount(repository, layer.digest, source)
    farm.registry.put_blob(repository, base.content)
    media_type, content, _ = farm.registry.get_manifest(source, digest)
    made = farm.registry.put_manifest(repository, content, media_type, tag="latest")
    builder = Builder("unused", repository, made, base.manifest, base.content)
    patched = push_patched(farm.registry, builder, patch, "2026-01-01T00:00:00Z")
    return f"{repository}@{made}", patched


def _forget_images(tenant: str, repository: str) -> None:
    """Removes the story's images from the engine and from the registry; its collection removes their bytes."""
    settings = read_settings()
    engine = docker.DockerClient(settings.docker_url)
    with open_farm(settings) as farm, suppress(BuildfarmError):
        own = (f"{farm.registry.host}/apps/{tenant}/", f"{farm.registry.host}/{repository}")
        for image in engine.images.list():
            for name in image.attrs.get("RepoDigests") or ():
                if name.startswith(own):
                    with suppress(docker.errors.APIError):
                        engine.images.remove(name, force=True)
        for name in list(farm.registry.repositories()):
            if name == repository or f"/{tenant}/" in f"/{name}/":
                with suppress(BuildfarmError):  # a repository of blobs alone, or one whose tags share a manifest
                    for tag in list(farm.registry.tags(name)):
                        farm.registry.delete_manifest(name, farm.registry.get_manifest(name, tag)[2])
    engine.close()


def wait_until(check: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns as soon as it is true. Raises SystemExit if it is not in time."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            raise SystemExit(f"Not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
