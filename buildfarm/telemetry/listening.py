"""Sockets that servers of the farm listen on: IPv4, IPv6 or both."""

from __future__ import annotations

import socket

ALL = "::"


def listen(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """A socket that listens at an address or name. ``::`` is every address of this machine, also those of IPv4.

    Raises OSError.
    """
    if host == ALL:
        both = socket.has_dualstack_ipv6()
        family, host = (socket.AF_INET6, ALL) if both else (socket.AF_INET, "0.0.0.0")
        return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=backlog)
