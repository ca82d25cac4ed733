"""The farm's cache of packages as a container of these tests: before any upstreams, killed and started at will."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from buildfarm.settings import read_settings
from localfarm import images, network
from localfarm.slim import Maker
from testkit.apps.counters import settled
from testkit.builds import wait_for
from testkit.serving import free_port
from workers.engine import open_engine

_FOLDER = Path("/var/lib/buildfarm/test-workspaces/images")


@dataclass(frozen=True)
class PackageCache:
    """One container. It runs until it is killed."""

    name: str
    place: str  # HOST:PORT
    metrics_port: int

    @property
    def url(self) -> str:
        """As the setting has it."""
        return f"http://{self.place}"

    def runs(self) -> bool:
        """Whether its container does."""
        return _docker("inspect", "--format={{.State.Running}}", self.name).strip() == "true"

    def logs(self) -> str:
        """What it wrote."""
        return _docker("logs", self.name)

    def kill(self) -> None:
        """End it at once."""
        _docker("kill", self.name)

    def start(self) -> None:
        """Start it again over what it has kept, and return when it answers."""
        _docker("start", self.name)
        wait_for(self.answers, 20, self.logs)

    def counted(self, what: str, kind: str = "") -> int:
        """Return a counter, such as ``upstream_bytes``, of one kind or of all, with all that was asked so far."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        return settled(lambda: summed(httpx.get(url, trust_env=False, timeout=30).text, what, kind))

    def answers(self) -> bool:
        """Whether it does."""
        try:
            return httpx.get(f"{self.url}/_health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def summed(metrics: str, what: str, kind: str = "") -> int:
    """The sum of a counter in the text of a cache's metrics, of one kind of package or of all."""
    pattern = rf'^buildfarm_downloads_{what}_total{{kind="{kind or "[a-z]+"}".*}} (\d+)$'
    return sum(map(int, re.findall(pattern, metrics, re.MULTILINE)))


@contextmanager
def package_cache(address: str, *, disk_mb: int = 0, **variables: str) -> Iterator[PackageCache]:
    """A cache that listens at this address of the machine, before the public upstreams or those that are named.

    ``variables`` are others of its image too. With ``disk_mb`` it has so small a disk, which a new start empties.
    """
    settings = read_settings()
    cache = PackageCache(f"buildfarm-test-cache-{uuid.uuid4().hex[:8]}", f"{address}:{free_port()}", free_port())
    environment = {
        "LISTEN": cache.place,
        "METRICS_LISTEN": f"127.0.0.1:{cache.metrics_port}",
        "CACHE_MB": "1024",
        **{name.upper(): value for name, value in variables.items()},
    }
    command = ["create", "--init", f"--name={cache.name}", "--network=host", "--read-only", "--tmpfs=/tmp:size=16m"]
    command += ["--cap-drop=ALL", *(f"--env={name}={value}" for name, value in environment.items())]
    if disk_mb:
        command.append(f"--tmpfs=/var/cache/downloads:size={disk_mb}m,uid=998")
    if settings.ca_bundle:
        command.append(f"--volume={settings.ca_bundle}:/run/certificates.pem:ro")
    _docker(*command, cache_image())
    try:
        cache.start()
        yield cache
    finally:
        _docker("rm", "--force", "--volumes", cache.name)


def cache_image() -> str:
    """The image, made if it is not there yet."""
    settings = read_settings()
    with closing(open_engine(settings.docker_url)) as client:
        base = images.ensure_base(client, settings.docker_url, "", lambda _: None)
        imager = images.ensure_image(client, images.IMAGER, base, say=lambda _: None)
        _FOLDER.mkdir(parents=True, exist_ok=True)
        maker = Maker(client, settings, network.SERVICES, _FOLDER, imager)
        return images.ensure_slim(maker, images.DOWNLOADS, lambda _: None)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout + done.stderr
