"""The network of the nodes: a switch in its own namespace, an address for each node, and ways to break it.

The switch is apart from this machine, so that its packet filter and the nodes' never meet.
"""

from __future__ import annotations

from contextlib import suppress

from testkit.cluster.shell import run

PREFIX = "bfault"  # of every namespace, link and control group that the harness makes
SWITCH = f"{PREFIX}sw"
UPLINK = f"{PREFIX}up"
GATEWAY = "10.173.0.1"
COMMENT = "buildfarm-faults"

_SUBNET = "10.173.0.0/24"
_RULES = (
    ("nat", "POSTROUTING", ("-s", _SUBNET, "!", "-d", _SUBNET, "-j", "MASQUERADE")),
    # Before the engine's own rules: the nodes reach Redis and the registry on the engine's bridges.
    ("filter", "FORWARD", ("-i", UPLINK, "-j", "ACCEPT")),
    ("filter", "FORWARD", ("-o", UPLINK, "-j", "ACCEPT")),
)


def make_switch() -> None:
    """The switch, and the way from it to this machine and out of it."""
    run("ip", "netns", "add", SWITCH)
    run("ip", "-n", SWITCH, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", SWITCH, "link", "set", "br0", "up")
    run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", "uplink", "netns", SWITCH)
    run("ip", "-n", SWITCH, "link", "set", "uplink", "master", "br0", "up")
    run("ip", "addr", "add", f"{GATEWAY}/24", "dev", UPLINK)
    run("ip", "link", "set", UPLINK, "up")
    for table, chain, rule in _RULES:
        run("iptables", "-w", "-t", table, "-I", chain, "1", *rule, "-m", "comment", "--comment", COMMENT)


def namespace_of(number: int) -> str:
    """The network namespace of a node."""
    return f"{PREFIX}n{number}"


def address_of(number: int) -> str:
    """A node's address on the switch."""
    return f"10.173.0.{10 + number}"


def connect(number: int) -> None:
    """A node's namespace, and its cable to the switch."""
    namespace, port = namespace_of(number), f"{PREFIX}t{number}"
    run("ip", "netns", "add", namespace)
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "link", "set", port, "netns", SWITCH)
    run("ip", "-n", SWITCH, "link", "set", port, "master", "br0", "up")
    for command in (
        ("link", "set", "lo", "up"),
        ("addr", "add", f"{address_of(number)}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", GATEWAY),
    ):
        run("ip", "-n", namespace, *command)


def drop(number: int, address: str, port: int, *, on: bool) -> None:
    """Lets what a node sends to an address vanish, or no more: neither side gets an error, as when a cable is cut."""
    rule = ("OUTPUT", "-p", "tcp", "-d", address, "--dport", str(port), "-j", "DROP")
    inside = ("nsenter", f"--net=/run/netns/{namespace_of(number)}")
    run(*inside, "iptables", "-w", "-I" if on else "-D", *rule)


def clear_away() -> None:
    """Whatever is left of any of this."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        if name.startswith(PREFIX):
            run("ip", "netns", "del", name, check=False)
    with suppress(RuntimeError):
        run("ip", "link", "del", UPLINK)
    for table, chain, rule in _RULES:
        with suppress(RuntimeError):
            while True:
                run("iptables", "-w", "-t", table, "-D", chain, *rule, "-m", "comment", "--comment", COMMENT)
