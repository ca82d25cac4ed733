"""Bridge networks of the engine: the one that sandboxes use, in which they cannot reach one another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

BRIDGE_OPTION = "com.docker.network.bridge.name"

_MTU_OPTION = "com.docker.network.driver.mtu"
_ETHERNET_MTU = 1500

# Some engines give every new network IPv6 by default, which the network rules do not filter.
_APART = {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.enable_ipv6": "false"}


def ensure_builds_network(client: docker.DockerClient, name: str) -> str:
    """Makes the network of the sandboxes if there is none; returns its name. Raises docker's errors."""
    if find_network(client, name) is None:
        make_bridge(client, name, builds_options())
    return name


def find_network(client: docker.DockerClient, name: str) -> Network | None:
    """The engine's network of this name, or None."""
    try:
        return client.networks.get(name)
    except NotFound:
        return None


def make_bridge(
    client: docker.DockerClient, name: str, options: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> Network:
    """A new bridge network. Raises docker's errors."""
    return client.networks.create(
        name, driver="bridge", options=dict(options), labels=dict(labels or {}), check_duplicate=True
    )


def make_again(client: docker.DockerClient, made: Mapping[str, Any], bridge: str) -> None:
    """Make a network that was removed, as the engine described it, with the same bridge. Raises docker's errors.

    Rules that name the bridge are in force from its first moment. The addresses are the same, unless another network
    has taken them.
    """
    pools = [IPAMPool(subnet=each["Subnet"], gateway=each.get("Gateway")) for each in made["IPAM"]["Config"] or ()]
    options = {**(made["Options"] or {}), BRIDGE_OPTION: bridge}
    try:
        client.networks.create(
            made["Name"], driver="bridge", options=options, labels=made["Labels"], check_duplicate=True,
            internal=bool(made.get("Internal")), ipam=IPAMConfig(pool_configs=pools),
        )  # fmt: skip
    except APIError as error:
        if error.status_code == 409:  # another node of this engine made it
            return
        if made.get("Internal"):  # other addresses would let builds out
            raise
        make_bridge(client, made["Name"], options, made["Labels"])


def builds_options() -> dict[str, str]:
    """Options of a network for sandboxes: they run untrusted code and must not reach one another."""
    return {**services_options(), **_APART}


def services_options() -> dict[str, str]:
    """Options of any other network of this machine."""
    return {_MTU_OPTION: str(host_mtu(Path("/proc/net/route").read_text(), Path("/sys/class/net")))}


def host_mtu(routes: str, interfaces: Path) -> int:
    """MTU of the default route's interface, from /proc/net/route and /sys/class/net.

    The engine uses 1500 on every machine; if the route out of this one has less, large packets are lost and downloads
    inside containers hang.
    """
    for line in routes.splitlines()[1:]:
        interface, destination = line.split()[:2]
        if destination == "00000000":
            with suppress(OSError):  # a container may not see the interfaces
                return int((interfaces / interface / "mtu").read_text())
    return _ETHERNET_MTU
