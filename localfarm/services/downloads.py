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
_NAME = "buildfarm-downloads"


def described(client: docker.DockerClient, image: str, settings: Settings) -> Service:
    """The cache from this image. Raises SetupError.

    It listens where sandboxes have their gateway, so the node's rules open one port of this machine and nothing else.
    """
    environment = {
        "LISTEN": f"{_gateway(client, settings.sandbox_network)}:{PORT}",
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


def url_of(service: Service) -> str:
    """Where it answers."""
    return f"http://{service.environment['LISTEN']}"


def ends(client: docker.DockerClient, service: Service | None) -> bool:
    """Whether one runs that would be removed or made anew, so that builds would lose it."""
    container = services.find_container(client, _NAME)
    return container is not None and (service is None or container.labels.get(services.CONFIG) != repr(service))


def ensure(client: docker.DockerClient, service: Service, say: Say) -> None:
    """The cache runs as it is described. The farm does not depend on it: one that cannot run is stopped, and named."""
    try:
        services.ensure_service(client, None, service, say)
    except SetupError as error:
        reason = error.message
    else:
        if wait_until(lambda: answers(url_of(service)), _READY_SECONDS):
            return
        reason = f"It was not ready after {_READY_SECONDS} s."
    if container := services.find_container(client, _NAME):
        reason = "\n".join([reason, container.logs(tail=5).decode(errors="replace").strip()])
        container.stop(timeout=services.STOP_SECONDS)
    say(f"downloads: not running, so builds fetch by themselves; the next `buildfarm up` tries again. {reason}")


def remove(client: docker.DockerClient) -> None:
    """None runs, and nothing that one has kept is left."""
    services.remove_services(client, data=True, names=[_NAME])


def answers(url: str) -> bool:
    """Whether it does."""
    try:
        return httpx.get(f"{url}/_health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


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
