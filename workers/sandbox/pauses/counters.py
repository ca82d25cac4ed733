"""Whether anything was ever to be sent in the network namespace of a process, by the kernel's counters (proc_net(5)).

An interface counts what leaves by it, the loopback interface included. What IP hands to nobody, such as a datagram to a
group with a time to live of 0, only IP's own counters have.
"""

from __future__ import annotations

import os
from pathlib import Path

_INTERFACE = "eth0"  # to the engine's bridge
_SENT_COLUMN = 8  # of an interface's line: what was sent comes after eight columns of what was received
_IPV6 = ("snmp6", "ip6_flowlabel")


def is_unused(process: Path, container_id: str) -> bool:
    """Whether this process, a folder of /proc, is of the container, and nothing was to be sent in its namespace.

    What cannot be read counts as used.
    """
    try:
        # The folder stays this process's: after its end nothing can be read there, even if another gets its number.
        folder = os.open(process, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return container_id in _read(folder, "cgroup") and (
            sent_nothing(_read(folder, "net/dev"))
            and counted_nothing(_read(folder, "net/snmp"))
            and counted_nothing(_read(folder, "net/netstat"))
            and _sent_nothing_by_ipv6(folder)
        )
    except (OSError, ValueError):
        return False
    finally:
        os.close(folder)


def sent_nothing(text: str) -> bool:
    """Whether every interface's counters of what was sent are 0, by the text of net/dev.

    A namespace without the engine's interface was cut off, and is of no use.
    """
    lines = [line.partition(":") for line in text.splitlines() if ":" in line]
    interfaces = {name.strip(): numbers.split() for name, _, numbers in lines}
    return _INTERFACE in interfaces and all(
        len(numbers) > _SENT_COLUMN and set(numbers[_SENT_COLUMN:]) == {"0"} for numbers in interfaces.values()
    )


def counted_nothing(text: str) -> bool:
    """Whether IP counted nothing that went out or was to, by the text of net/snmp or net/netstat.

    There is a line of names and one of numbers for each protocol (net/ipv4/proc.c).
    """
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    names, numbers = lines[::2], lines[1::2]
    found = [
        number
        for (protocol, _, heads), (_, _, values) in zip(names, numbers, strict=True)
        if protocol in ("Ip", "IpExt")
        for name, number in zip(heads.split(), values.split(), strict=True)
        if "Out" in name
    ]
    return bool(found) and set(found) == {"0"}


def counted_nothing_in_ipv6(counters: str, labels: str) -> bool:
    """The same for IPv6, by the texts of net/snmp6 and net/ip6_flowlabel: labels outlive the socket that had them."""
    fields = [line.split() for line in counters.splitlines()]
    sent = [number for name, number in fields if "Out" in name]
    return bool(sent) and set(sent) == {"0"} and len(labels.splitlines()) <= 1


def _sent_nothing_by_ipv6(folder: int) -> bool:
    try:
        return counted_nothing_in_ipv6(*(_read(folder, f"net/{name}") for name in _IPV6))
    except FileNotFoundError:
        # A kernel without IPv6 has none of its files.
        return not any(Path(f"/proc/self/fd/{folder}/net/{name}").exists() for name in _IPV6)


def _read(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder)) as file:
        return file.read()
