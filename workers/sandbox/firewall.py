"""The network rules of the sandboxes: out into the world, and nowhere into the farm, the node or a private network.

A bridge without traffic between its containers still leads to every port of its host, and an internal one does too, by
its gateway. So there is one chain for what is forwarded (jumped to from DOCKER-USER, which the engine leaves to us) and
one for what ends on this host (from INPUT). Both match what comes in by the sandboxes' bridge and nothing else.
The chains are named after the bridge, and each network has another bridge: two farms with two networks share no rule.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.errors import NodeError, SetupError
from workers.sandbox.metadata_addresses import METADATA

# Not the internet (RFC 6890, IANA special-purpose registry): this host, private, carrier, link-local, benchmarks,
# multicast, reserved.
PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip

_COMMAND_SECONDS = 30
_CAP_NET_ADMIN = 12
NOT_ALLOWED = "the worker is not allowed to administer the network: it is not root, or lacks CAP_NET_ADMIN"
_NOT_THERE = 2  # the highest exit code of iptables -C for a rule or chain that is missing
_REFUSE = "-j REJECT --reject-with icmp-admin-prohibited"
# Answers of a sandbox only. A connection that a sandbox opened while no rules were set is judged packet by packet.
_ANSWER = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"
_ENGINE_JUMP = ("FORWARD", "-j", "DOCKER-USER")


@dataclass(frozen=True)
class Allowed:
    """A private address that builds may reach nevertheless: a mirror, a proxy."""

    network: str
    port: int | None = None

    @property
    def match(self) -> str:
        """As iptables has it."""
        return f"-d {self.network}" + (f" -p tcp --dport {self.port}" if self.port else "")


@dataclass(frozen=True)
class Firewall:
    """The rules of one bridge. Safe to set again and again: the chains are replaced in one step."""

    bridge: str
    nameservers: tuple[str, ...] = ()
    allowed: tuple[Allowed, ...] = ()
    denied: tuple[str, ...] = ()  # the farm's own addresses, public ones too
    downloads: tuple[Allowed, ...] = ()  # the port of its cache of packages, also on a machine that is denied

    def obstacle(self) -> str:
        """Why this process cannot set the rules; empty if it can."""
        if not may_administer():
            return NOT_ALLOWED
        try:
            socket.if_nametoindex(self.bridge)
        except OSError:
            return f"the engine's bridge {self.bridge} is in another network namespace than the worker"
        return ""

    def allows(self, address: str) -> bool:
        """Whether the allow list opens this address, on any port."""
        wanted = ipaddress.IPv4Address(address)
        return any(wanted in ipaddress.IPv4Network(allowed.network) for allowed in self.allowed)

    def set(self) -> None:
        """Set the rules and check that packets pass through them. Raises NodeError."""
        _run("iptables-restore", "--wait", "--noflush", text=rules_text(self))
        for parent, chain in self._jumps():
            jump = (parent, "-i", self.bridge, "-j", chain)
            if not _has(jump):
                _run("iptables", "--wait", "-I", *jump)
        if not _has(_ENGINE_JUMP):
            raise NodeError(
                "The engine's jump from FORWARD to DOCKER-USER is missing, so no network rule takes effect.",
                advice="Restart the Docker engine, which sets it.",
            )

    def in_force(self) -> dict[str, str]:
        """Return the rules of each chain as the kernel lists them, without chains that have none. Raises NodeError."""
        listed = {chain: _output("iptables", "--wait", "-S", chain) for _, chain in self._jumps()}
        return {chain: rules for chain, rules in listed.items() if "-A " in rules}

    def remove(self) -> bool:
        """Takes the rules away, whatever is left of them; whether there were any."""
        found = False
        for parent, chain in self._jumps():
            jump = (parent, "-i", self.bridge, "-j", chain)
            while _run("iptables", "--wait", "-D", *jump, may_fail=True).returncode == 0:
                found = True
            _run("iptables", "--wait", "-F", chain, may_fail=True)
            _run("iptables", "--wait", "-X", chain, may_fail=True)
        return found

    def _jumps(self) -> tuple[tuple[str, str], ...]:
        return (("DOCKER-USER", _chain("F", self.bridge)), ("INPUT", _chain("I", self.bridge)))


def rules_text(firewall: Firewall) -> str:
    """Both chains as iptables-restore(8) reads them."""
    forward, into = _chain("F", firewall.bridge), _chain("I", firewall.bridge)
    lines = ["*filter", f":{forward} - [0:0]", f":{into} - [0:0]"]
    lines += [f"-A {forward} {rule}" for rule in _first(firewall, "RETURN")]
    # To return would leave it to the other rules of INPUT, such as those of ufw, which drop what they do not name.
    lines += [f"-A {into} {rule}" for rule in _first(firewall, "ACCEPT")]
    lines += [f"-A {forward} -d {network} {_REFUSE}" for network in PRIVATE]
    lines.append(f"-A {into} {_REFUSE}")
    return "\n".join([*lines, "COMMIT", ""])


def _first(firewall: Firewall, opened: str) -> Iterator[str]:
    """What both chains begin with; ``opened`` is the target of packets to the cache of packages."""
    yield f"{_ANSWER} -j RETURN"
    for server in (*firewall.nameservers, *(one.address for one in METADATA if one.dns)):
        yield from _lookups(server)
    for one in METADATA:
        yield f"-d {one.address} {_REFUSE}"
    for allowed in firewall.downloads:
        yield f"{allowed.match} -j {opened}"
    for address in firewall.denied:
        yield f"-d {address} {_REFUSE}"
    for allowed in firewall.allowed:
        yield f"{allowed.match} -j RETURN"


def _lookups(server: str) -> Iterator[str]:
    for protocol in ("udp", "tcp"):
        yield f"-d {server} -p {protocol} --dport 53 -j RETURN"


def make_firewall(
    network: dict[str, Any], allowed: tuple[Allowed, ...], denied: Iterable[str], resolv: Path
) -> Firewall:
    """Return the rules for a network as the engine describes it."""
    return Firewall(bridge_of(network), tuple(_nameservers(resolv)), allowed, tuple(sorted(denied)))


def remove_stale_chains() -> list[str]:
    """Remove the rules of bridges that no longer exist and return those bridges' names. Raises NodeError."""
    present = {name for _, name in socket.if_nameindex()}
    stale = sorted(bridges_in(_output("iptables", "--wait", "-S")) - present)
    return [bridge for bridge in stale if Firewall(bridge).remove()]


def bridges_in(listing: str) -> set[str]:
    """Return the bridges that have chains in the output of ``iptables -S``."""
    return set(re.findall(r"^-N BUILDFARM-[FI]-(\S+)$", listing, re.MULTILINE))


def bridge_of(network: dict[str, Any]) -> str:
    """Name of the interface of a bridge network."""
    options: dict[str, str] = network.get("Options") or {}
    return options.get("com.docker.network.bridge.name") or f"br-{network['Id'][:12]}"


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """``CIDR`` or ``CIDR:PORT``, with commas between them. Raises SetupError that names the first that is neither."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        network, colon, port = item.partition(":")
        try:
            found.append(Allowed(str(ipaddress.IPv4Network(network)), _port(port) if colon else None))
        except ValueError as error:
            raise SetupError(
                f"BUILDFARM_SANDBOX_ALLOW: {item[:80]!r} is not an IPv4 network.",
                advice="Write 10.1.2.3/32, or 10.1.2.3/32:3128 for one port.",
            ) from error
    for allowed in found:
        _refuse_metadata(allowed)
    return tuple(found)


def _refuse_metadata(allowed: Allowed) -> None:
    for one in METADATA:
        if ipaddress.IPv4Network(allowed.network) == ipaddress.IPv4Network(one.address):
            raise SetupError(
                f"BUILDFARM_SANDBOX_ALLOW: {one.address} is a metadata address ({one.clouds}); no build may reach it.",
                advice="Remove it from BUILDFARM_SANDBOX_ALLOW.",
            )


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError(text)
    return number


def _nameservers(resolv: Path) -> Iterator[str]:
    """Those that a sandbox's lookups go to. One on the loopback address is asked by the engine itself."""
    try:
        lines = resolv.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_ipv4(words[1]) and not words[1].startswith("127."):
            yield words[1]


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def may_administer() -> bool:
    """Whether this process is allowed to administer the network."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


def _chain(kind: str, bridge: str) -> str:
    return f"BUILDFARM-{kind}-{bridge}"[:28]


def _has(rule: tuple[str, ...]) -> bool:
    done = _run("iptables", "--wait", "-C", *rule, may_fail=True)
    if done.returncode > _NOT_THERE:
        raise NodeError(f"iptables failed on the node: {done.stderr.strip()[-300:]}")
    return done.returncode == 0


def _output(*command: str) -> str:
    """What the command prints; empty if it names a chain that is missing."""
    return _run(*command, may_fail=True).stdout


def _run(*command: str, text: str = "", may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"The node cannot run {command[0]}: {error}.") from error
    if done.returncode != 0 and not may_fail:
        raise NodeError(f"{command[0]} failed on the node: {done.stderr.strip()[-300:]}")
    return done
