"""The local farm's cache of packages: a container in this machine's network, at the address that sandboxes leave by."""

from __future__ import annotations

import docker
import httpx

from buildfarm.errors import SetupError
from buildfarm.settings import MIB, Settings
from localfarm import services
from localfarm.services import Say, Service
from localfarm.waiting import wait_until
from workers.sandbox.network import find_network

PORT = 8090
METRICS_PORT = 8091  # on the loopback address alone: builds do not reach it
_CERTIFICATES = "/run/certificates.pem"
_READY_SECONDS = 20


def ensure(client: docker.DockerClient, image: str, settings: Settings, say: Say) -> str:
    """The cache runs as the settings describe it; its URL. Raises SetupError.

    It listens where sandboxes have their gateway, so the node's rules open one port of this machine and nothing else.
    """
    url = f"http://{_gateway(client, settings.sandbox_network)}:{PORT}"
    services.ensure_service(client, None, _service(image, settings, url), say)
    if not wait_until(lambda: answers(url), _READY_SECONDS):
        container = services.find_container(client, "buildfarm-downloads")
        written = container.logs(tail=5).decode(errors="replace") if container else "(its container is gone)"
        raise SetupError(
            f"The cache of packages was not ready after {_READY_SECONDS} s:\n{written}",
            advice="Correct what its log names, or run `buildfarm up --no-downloads`.",
        )
    return url


def answers(url: str) -> bool:
    """Whether it does."""
    try:
        return httpx.get(f"{url}/_health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _service(image: str, settings: Settings, url: str) -> Service:
    environment = {
        "LISTEN": url.removeprefix("http://"),
        "METRICS_LISTEN": f"127.0.0.1:{METRICS_PORT}",
        "CACHE_MB": str(settings.downloads_bytes // MIB),
        "PROXY": settings.downloads_proxy,
        **{name.upper(): upstream for name, upstream in settings.downloads_from.items()},
    }
    return Service(
        role="downloads",
        image=image,
        port=PORT,
        published=PORT,
        data="/var/cache/downloads",
        mounts={settings.ca_bundle: _CERTIFICATES} if settings.ca_bundle else {},
        environment=environment,
    )


def _gateway(client: docker.DockerClient, name: str) -> str:
    network = find_network(client, name)
    found = [] if network is None else network.attrs["IPAM"]["Config"] or []
    for item in found:
        if "." in item.get("Gateway", ""):
            return str(item["Gateway"])
    raise SetupError(
        f"The sandboxes' network {name} has no gateway of IPv4, where the cache of packages would listen.",
        advice="Remove that network, or run `buildfarm up --no-downloads`.",
    )
