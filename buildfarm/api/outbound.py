"""Requests to addresses that customers chose: signed, never to a private address, never redirected."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from buildfarm.errors import RequestError

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 10.0

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class PrivateAddressError(RequestError):
    """The address leads inside."""

    code = "request.private_address"


def sign(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """A signature as Standard Webhooks has it: HMAC-SHA256 of ``id.timestamp.body``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{identity}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"


def parse_networks(text: str) -> Networks:
    """Networks out of ``CIDR,CIDR``. Raises RequestError."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise RequestError(f"BUILDFARM_WEBHOOK_NETWORKS cannot be read: {error}.", advice="Write CIDR,CIDR.") from error


def check_url(url: str) -> str:
    """An address that may be tried. Raises RequestError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise RequestError("A webhook's address is http(s)://host/path, without a user or a password.")
    return url


def post(url: str, headers: Iterable[tuple[str, str]], body: bytes, allowed: Networks) -> int:
    """Sends the body, and returns the status. Raises PrivateAddressError, OSError and httpcore's own errors."""
    timeout = {"connect": _CONNECT_SECONDS, "read": _SILENCE_SECONDS, "write": _SILENCE_SECONDS, "pool": 1.0}
    with (
        httpcore.ConnectionPool(network_backend=_Guarded(allowed), retries=0) as pool,
        pool.stream("POST", url, headers=list(headers), content=body, extensions={"timeout": timeout}) as response,
    ):
        return int(response.status)


class _Guarded(httpcore.SyncBackend):
    """Resolves a name itself, and connects to the very address that it has looked at."""

    def __init__(self, allowed: Networks) -> None:
        self._allowed = allowed

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        addresses = [str(one[4][0]) for one in found]
        refused = [address for address in addresses if not self._may(address)]
        # All of them: a name with a public and a private address would be tried until it leads inside.
        if refused or not addresses:
            raise PrivateAddressError(f"{host} leads to {', '.join(refused)}, which is no public address.")
        return super().connect_tcp(addresses[0], port, *args, **options)

    def connect_unix_socket(self, path: str, *args: Any, **options: Any) -> httpcore.NetworkStream:
        raise PrivateAddressError(f"{path} is no address.")

    def _may(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        return address.is_global and not address.is_multicast
