"""Redis and the registry: containers of the project's own images, on loopback ports only."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import redis
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import LogConfig, Mount

from buildfarm.errors import RegistryError, SetupError
from buildfarm.oci.registry import Registry
from localfarm.state import LocalState
from localfarm.waiting import wait_until

ROLE = "buildfarm.role"
CONFIG = "buildfarm.config"
REDIS_MEMORY = "1gb"  # as in the chart: room for 256 MiB of logs and some 200,000 builds
ALL = ("buildfarm-redis", "buildfarm-registry", "buildfarm-downloads")
READY_SECONDS = 60
STOP_SECONDS = 20
REMOVE_DATA_SECONDS = 1800  # the engine answers when the last file is gone: over a minute for 44 GB
_HEALTH_SECONDS = 30  # as often as engines look by default

Say = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """One container. Two services with the same fields are the same; another field makes another container."""

    role: str
    image: str
    port: int  # inside
    published: int  # on the loopback address
    data: str  # the folder that outlives the container
    mounts: Mapping[Path, str]
    environment: Mapping[str, str]
    command: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the container and of its volume."""
        return f"buildfarm-{self.role}"


def redis_service(image: str, state: LocalState, password_file: Path) -> Service:
    """The store and the queue."""
    inside = "/run/secrets/redis-password"
    return Service(
        role="redis",
        image=image,
        port=6379,
        published=state.redis_port,
        data="/data",
        mounts={password_file: inside},
        environment={"REDIS_PASSWORD_FILE": inside},
        # always: a build that was acknowledged survives the loss of power (measured: 2,700 writes a second).
        # noeviction: under memory pressure Redis must refuse writes, never drop a queue. The farm refuses new builds at
        # 80 % of maxmemory, so that those it has can end.
        # listpack: where archived builds lie is in 4,096 hashes; a hash in one piece takes half of what a table does.
        command=(
            *("--appendfsync", "always", "--maxmemory-policy", "noeviction", "--maxmemory", REDIS_MEMORY),
            *("--hash-max-listpack-entries", "4096", "--hash-max-listpack-value", "96"),
        ),
    )


def registry_service(image: str, state: LocalState) -> Service:
    """The one store for big things."""
    return Service(
        role="registry",
        image=image,
        port=5000,
        published=state.registry_port,
        data="/var/lib/registry",
        mounts={},
        environment={},
    )


def ensure_service(client: docker.DockerClient, network: Network | None, service: Service, say: Say) -> None:
    """The service runs as it is described; one that runs differently is made anew over the same data.

    Without a network it is in this machine's, and listens where its environment says.
    """
    container = find_container(client, service.name)
    if container is not None and container.labels.get(CONFIG) != repr(service):
        say(f"{service.role}: making it anew, its settings changed")
        _remove(container)
        container = None
    if container is None:
        say(f"{service.role}: starting on {'127.0.0.1:' if network else 'port '}{service.published}")
        container = client.containers.create(service.image, **_options(network, service))
    if container.status != "running":
        _start(container, service)


def port_taken(role: str, port: int) -> SetupError:
    """Another process has the port that a service needs."""
    return SetupError(
        f"Port {port} of 127.0.0.1 is taken, and the farm's {role} needs it.",
        advice=f"Free it, or choose another: buildfarm up --{role}-port PORT.",
    )


def check_ports(client: docker.DockerClient, state: LocalState) -> None:
    """Raises SetupError if another process has a port that a service is to have. To be asked before any is moved."""
    for role, port in (("redis", state.redis_port), ("registry", state.registry_port)):
        if not has_port(client, role, port) and not is_free("127.0.0.1", port):
            raise port_taken(role, port)


def is_free(host: str, port: int) -> bool:
    """Whether no process listens there."""
    try:
        with socket.create_server((host, port)):
            return True
    except OSError as error:
        return error.errno != errno.EADDRINUSE


def redis_answers(state: LocalState) -> bool:
    """Whether Redis lets us in."""
    client = redis.Redis.from_url(state.redis_url, socket_connect_timeout=2, socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def registry_answers(state: LocalState) -> bool:
    """Whether the registry does."""
    with Registry(f"http://{state.registry_address}", timeout_seconds=2, attempts=1) as registry:
        try:
            registry.ping()
        except RegistryError:
            return False
        return True


def wait_for_services(client: docker.DockerClient, state: LocalState) -> None:
    """Returns when both answer. Raises SetupError with the container's last lines if one does not."""
    for name, answers in (("buildfarm-redis", redis_answers), ("buildfarm-registry", registry_answers)):
        if not wait_until(lambda answers=answers: answers(state), READY_SECONDS):  # type: ignore[misc]
            container = find_container(client, name)
            written = container.logs(tail=15).decode(errors="replace") if container else "(its container is gone)"
            raise SetupError(
                f"{name} was not ready after {READY_SECONDS} s:\n{written}",
                advice=f"Correct what its log names, then run `buildfarm up` again. More of it: docker logs {name}.",
            )


def remove_services(client: docker.DockerClient, *, data: bool, names: Sequence[str] = ALL) -> list[str]:
    """Removes the containers, and with ``data`` what they stored; returns what is gone."""
    removed = []
    for name in names:
        container = find_container(client, name)
        if container is not None:
            _remove(container)
            removed.append(name)
        if data:
            try:
                with _with_timeout(client, REMOVE_DATA_SECONDS):
                    client.volumes.get(name).remove()
                removed.append(f"{name} (data)")
            except NotFound:
                pass
    return removed


def find_container(client: docker.DockerClient, name: str) -> Container | None:
    """The container of this name, if it is there."""
    try:
        return client.containers.get(name)
    except NotFound:
        return None


def has_port(client: docker.DockerClient, role: str, port: int) -> bool:
    """Whether this service, which runs already, is what listens on the port."""
    container = find_container(client, f"buildfarm-{role}")
    return container is not None and container.status == "running" and port in published_ports(container.attrs)


def published_ports(attributes: Mapping[str, Any]) -> set[int]:
    """The ports of this machine that a container has, as the engine describes it."""
    bindings = attributes["HostConfig"]["PortBindings"] or {}
    return {int(found["HostPort"]) for each in bindings.values() for found in each or () if found["HostPort"]}


def registry_folder(client: docker.DockerClient) -> Path | None:
    """The folder that the registry keeps its files in, on the engine's machine; None if there is none."""
    try:
        return Path(str(client.volumes.get("buildfarm-registry").attrs["Mountpoint"]))
    except NotFound:
        return None


def registry_files(client: docker.DockerClient) -> Path | None:
    """The same; None if the engine is on another machine, or this user cannot read it."""
    folder = registry_folder(client)
    try:
        return folder if folder is not None and folder.is_dir() else None
    except PermissionError:
        return None


def _options(network: Network | None, service: Service) -> dict[str, Any]:
    mounts = [Mount(service.data, service.name, type="volume")]
    mounts += [Mount(inside, str(path), type="bind", read_only=True) for path, inside in service.mounts.items()]
    ports = {f"{service.port}/tcp": ("127.0.0.1", service.published)}
    inside = (
        {"network": network.name, "hostname": service.role, "ports": ports} if network else {"network_mode": "host"}
    )
    return {
        **inside,
        "name": service.name,
        "labels": {ROLE: service.role, CONFIG: repr(service)},
        "mounts": mounts,
        "environment": dict(service.environment),
        "command": list(service.command),
        "init": True,
        "read_only": True,
        "tmpfs": {"/tmp": "size=16m"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        # The engine starts a process for each check: every 5 s, those of two services take a fortieth of a processor.
        "healthcheck": {"interval": _HEALTH_SECONDS * 1_000_000_000},
        "restart_policy": {"Name": "unless-stopped"},
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "2"}),
    }


def _start(container: Container, service: Service) -> None:
    try:
        container.start()
    except APIError as error:
        _remove(container)
        text = str(error.explanation)
        if "already in use" in text or "already allocated" in text:
            raise port_taken(service.role, service.published) from error
        raise SetupError(
            f"The container {service.name} cannot be started: {text}",
            advice="Correct what the engine names, then run `buildfarm up` again.",
        ) from error


def _remove(container: Container) -> None:
    # Redis and the registry write what they hold when they are asked to stop.
    container.stop(timeout=STOP_SECONDS)
    container.remove(force=True)


@contextmanager
def _with_timeout(client: docker.DockerClient, seconds: int) -> Iterator[None]:
    """Calls of this client may take that long within the block."""
    before, client.api.timeout = client.api.timeout, seconds
    try:
        yield
    finally:
        client.api.timeout = before
