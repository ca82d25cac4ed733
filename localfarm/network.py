"""The farm's two bridge networks: one for Redis and the registry, one for sandboxes."""

from __future__ import annotations

from collections.abc import Callable

import docker
from docker.models.networks import Network

from buildfarm.settings import SANDBOX_NETWORK
from workers.sandbox.firewall import Firewall, bridge_of
from workers.sandbox.network import BRIDGE_OPTION, builds_options, find_network, make_bridge, services_options

SERVICES = "buildfarm"
LABEL = "buildfarm.network"


def ensure_networks(client: docker.DockerClient, builds: str, say: Callable[[str], None]) -> Network:
    """Make or correct both networks and return that of the services."""
    ensure_builds(client, builds, say)
    return ensure_services(client, say)


def ensure_services(client: docker.DockerClient, say: Callable[[str], None]) -> Network:
    """Make or correct the network of Redis and the registry."""
    return _ensure(client, SERVICES, services_options(), say)


def ensure_builds(client: docker.DockerClient, name: str, say: Callable[[str], None]) -> Network:
    """Make or correct a network of sandboxes. They run untrusted code and must not reach one another."""
    return _ensure(client, name, builds_options(), say)


def remove_networks(client: docker.DockerClient, builds: str) -> list[str]:
    """Removes both, except where a container still uses one; returns the names of those that are gone."""
    removed = []
    for name in (SERVICES, builds):
        network = find_network(client, name)
        if network is not None and _remove_idle(network):
            removed.append(name)
    return removed + _remove_earlier(client, builds)


def _remove_earlier(client: docker.DockerClient, builds: str) -> list[str]:
    """Removes the networks of builds that this machine's farm had under other names: an older version, another port."""
    found = client.networks.list(filters={"label": LABEL}) if builds.startswith(SANDBOX_NETWORK) else []
    earlier = [network for network in found if str(network.name).startswith(SANDBOX_NETWORK) and network.name != builds]
    return [str(network.name) for network in earlier if _remove_idle(client.networks.get(str(network.id)))]


def _remove_idle(network: Network) -> bool:
    if LABEL not in _labels(network) or network.containers:
        return False
    if network.name != SERVICES:
        _forget_rules(network)
    network.remove()
    return True


def _forget_rules(network: Network) -> None:
    firewall = Firewall(bridge_of(network.attrs))
    if not firewall.obstacle():
        firewall.remove()


def _ensure(client: docker.DockerClient, name: str, options: dict[str, str], say: Callable[[str], None]) -> Network:
    network = find_network(client, name)
    if network is not None:
        # A node that made it again named its bridge.
        found = {name: value for name, value in network.attrs["Options"].items() if name != BRIDGE_OPTION}
        if found == options or not _remove_outdated(network, say):
            return network
    say(f"network: making {name}")
    return make_bridge(client, name, options, {LABEL: name})


def _remove_outdated(network: Network, say: Callable[[str], None]) -> bool:
    """Takes our services off a network whose options are old; one that anybody else uses stays as it is."""
    containers = network.containers
    if any("buildfarm.role" not in container.labels for container in containers):
        say(f"network: {network.name} is in use and keeps its old options until the next `buildfarm up`")
        return False
    for container in containers:
        network.disconnect(container, force=True)
    network.remove()
    return True


def _labels(network: Network) -> dict[str, str]:
    return network.attrs["Labels"] or {}
