"""Keeps the network rules of the sandboxes in force, and reports for how long they have not been.

A node takes builds only while the rules were confirmed within ``CONFIRMED_SECONDS_MAX``: an outage of iptables, of the
engine or of the name server closes the node instead of opening the sandboxes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
from docker.errors import NotFound

from buildfarm.errors import BuildfarmError, NodeError, SetupError
from buildfarm.telemetry import logger
from workers.engine import engine_failures
from workers.sandbox.firewall import Allowed, Firewall, bridge_of, make_firewall
from workers.sandbox.network import make_again

CONFIRMED_SECONDS_MAX = 30.0
_CACHE_SECONDS = 7200.0  # that builds reach an address of the cache of packages after its name has others

_RESOLV = Path("/etc/resolv.conf")


@dataclass
class Confirmation:
    """When the rules were last confirmed, and what went wrong since."""

    _at: float | None = None
    _reason: str = "they were not set yet"

    def succeed(self, now: float) -> None:
        """The rules were in force at this time."""
        self._at, self._reason = now, "the next check did not end"

    def fail(self, reason: str, *, at_once: bool = False) -> None:
        """The rules could not be confirmed; with ``at_once``, what was confirmed before no longer counts."""
        self._reason = reason.rstrip(".")
        if at_once:
            self._at = None

    def trouble(self, now: float) -> str:
        """Return why the node must not take builds; empty if the rules were confirmed recently enough."""
        at = self._at
        if at is None:
            return f"its network rules are not confirmed: {self._reason}"
        if now - at <= CONFIRMED_SECONDS_MAX:
            return ""
        return f"its network rules were not confirmed for {now - at:.0f} s: {self._reason}"


class FarmHosts:
    """The addresses of the farm's own services, resolved anew each time."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._places = [_hosts(url) for url in urls]
        self._known: dict[str, frozenset[str]] = {}

    def addresses(self) -> set[str]:
        """Return all IPv4 addresses except loopback. A name that does not resolve keeps the addresses it had.

        Raises NodeError if no host of one of the URLs has ever resolved.
        """
        found: set[str] = set()
        for hosts in self._places:
            for host in hosts:
                self._known[host] = _resolve(host) or self._known.get(host, frozenset())
            # Behind Sentinels one of several hosts may be down, and its name gone.
            if not any(self._known[host] for host in hosts):
                raise NodeError(f"The node cannot resolve {' or '.join(hosts)}, an address that builds must not reach.")
            found |= {address for host in hosts for address in self._known[host]}
        # IPv6 needs no rule: a sandbox has none. A host that has nothing else still counts as resolved.
        return {address for address in found if ":" not in address and not address.startswith("127.")}


@dataclass
class CachePort:
    """The one port of the farm's cache of packages, on the addresses that its name has or had while builds began."""

    url: str  # empty: the farm has none
    _seen: dict[str, float] = field(default_factory=dict)  # when an address was last one of its name

    def opened(self, now: float) -> tuple[Allowed, ...]:
        """Return it on each address, resolved anew; a name that does not resolve keeps those that it had."""
        addresses = {address for host in _hosts(self.url) for address in _resolve(host)}
        self._seen |= dict.fromkeys(addresses, now)
        last = max(self._seen.values(), default=0.0)
        self._seen = {address: at for address, at in self._seen.items() if last - at <= _CACHE_SECONDS}
        ours = [address for address in sorted(self._seen) if ":" not in address and not address.startswith("127.")]
        return tuple(Allowed(f"{address}/32", urlsplit(self.url).port or 80) for address in ours)


@dataclass
class NetworkRules:
    """The rules of one network of the engine. Safe to use from several threads."""

    client: docker.DockerClient
    network: str
    allowed: tuple[Allowed, ...]
    farm: FarmHosts
    resolv: Path = _RESOLV
    downloads: CachePort = field(default_factory=lambda: CachePort(""))  # the only part of the farm for builds
    obstacle: str | None = None  # why this node can set no rules at all; empty if it can, None before the first `keep`
    _left: dict[str, str] = field(default_factory=dict)  # the rules by chain, as the last `keep` left them
    _confirmation: Confirmation = field(default_factory=Confirmation)
    _opened: tuple[Allowed, ...] = ()  # of the cache of packages, by the last `keep`
    _made: dict[str, Any] = field(default_factory=dict)  # the network, as the engine last described it
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self) -> None:
        """Set the rules again and confirm them; a network that was removed is made again first.

        Raises SetupError if the network cannot be filtered, and NodeError.
        """
        now = time.monotonic()
        try:
            with self._lock:
                self._keep()
        except BuildfarmError as error:
            self._confirmation.fail(error.message, at_once=isinstance(error, SetupError))
            raise
        self._confirmation.succeed(now)

    def trouble(self) -> str:
        """Return why no build may start; empty while the rules are confirmed, or if this node can set none at all."""
        return "" if self.obstacle else self._confirmation.trouble(time.monotonic())

    @property
    def confirmed(self) -> bool:
        """Whether the rules are in force, as far as this node can see."""
        return not self.obstacle and not self.trouble()

    def allows(self, address: str) -> bool:
        """Whether the allow list opens this address, on any port."""
        return Firewall("", allowed=self.allowed).allows(address)

    def opens(self, place: str) -> bool:
        """Whether builds can reach the cache of packages at this HOST:PORT, as far as it is up to this node."""
        return bool(self.obstacle) or any(
            place == f"{one.network.removesuffix('/32')}:{one.port}" for one in self._opened
        )

    def inspect(self) -> dict[str, Any]:
        """Return the network as the engine describes it. Raises NodeError, and SetupError if it has IPv6."""
        with engine_failures("describe the sandboxes' network"):
            network = self._found()
        refuse_ipv6(network)
        self._made = network
        return network

    def _found(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.api.inspect_network(self.network)
        except NotFound:
            if not self._made:
                raise
            make_again(self.client, self._made, bridge_of(self._made))
            found = self.client.api.inspect_network(self.network)
            logger().warning("network_made_again", network=self.network, reason="it was removed from the engine")
        return found

    def _keep(self) -> None:
        network = self.inspect()
        obstacle = Firewall(bridge_of(network)).obstacle()
        if self.obstacle is None:
            self.obstacle = obstacle
        if self.obstacle:
            return
        if obstacle:
            raise NodeError(f"The node cannot set its network rules: {obstacle}.")
        firewall = make_firewall(network, self.allowed, self.farm.addresses(), self.resolv)
        firewall = replace(firewall, downloads=self.downloads.opened(time.monotonic()))
        found = firewall.in_force()
        left, self._left = self._left, {}
        firewall.set()
        self._opened = firewall.downloads
        self._left = firewall.in_force()
        if any(left.get(chain, rules) != rules for chain, rules in found.items()):
            raise NodeError(
                f"Another process changed the rules of the network {self.network}.",
                advice="Give each farm on this engine a separate network in BUILDFARM_SANDBOX_NETWORK.",
            )


def refuse_ipv6(network: dict[str, Any]) -> None:
    """Raises SetupError if the engine gives the network's containers IPv6 addresses: the rules filter IPv4 only."""
    if network.get("EnableIPv6"):
        raise SetupError(
            f"The sandboxes' network {network['Name']} has IPv6, which the farm's network rules do not filter.",
            advice=f"Run `docker network rm {network['Name']}`; the next node that starts makes it without IPv6.",
        )


def _hosts(url: str) -> list[str]:
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [host for place in places if (host := urlsplit(f"//{place}").hostname)]


def _resolve(host: str) -> frozenset[str]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a name that cannot be one is a UnicodeError
        return frozenset()
    return frozenset(str(answer[4][0]) for answer in answers)
