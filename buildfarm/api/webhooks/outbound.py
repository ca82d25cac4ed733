"""Requests to addresses that customers chose: signed, never to a private address, never redirected, soon over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from buildfarm.errors import RequestError

ATTEMPT_SECONDS = 20.0
_CONNECT_SECONDS = 5.0
# A socket that has room for anything has room for this much, so that one wait for room sends a piece.
_PIECE_BYTES = 1024

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


def post(
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    allowed: Networks,
    *,
    attempt_seconds: float = ATTEMPT_SECONDS,
) -> int:
    """Send the body, and return the status of the answer, whose body is not read.

    All of it, from the look-up of the name to the last header, is over after ``attempt_seconds``. Raises
    PrivateAddressError, OSError and httpcore's own errors.
    """
    deadline = _Deadline(attempt_seconds)
    with (
        httpcore.ConnectionPool(network_backend=_Guarded(allowed, deadline), retries=0) as pool,
        pool.stream("POST", url, headers=list(headers), content=body) as response,
    ):
        return int(response.status)


class _Deadline:
    """The end of an attempt, from which each of its steps takes its time limit."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises httpcore.TimeoutException if there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException(f"no complete answer within {self._seconds:g} s")
        return left


class _Guarded(httpcore.SyncBackend):
    """Resolves a name itself, and connects to the very address that it has looked at."""

    def __init__(self, allowed: Networks, deadline: _Deadline) -> None:
        self._allowed = allowed
        self._deadline = deadline

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        addresses = _addresses(host, port, self._deadline)
        refused = [address for address in addresses if not self._may(address)]
        # All of them: a name with a public and a private address would be tried until it leads inside.
        if refused or not addresses:
            raise PrivateAddressError(f"{host} leads to {', '.join(refused)}, which is not a public address.")
        seconds = min(_CONNECT_SECONDS, self._deadline.left())
        return _Bounded(super().connect_tcp(addresses[0], port, timeout=seconds), self._deadline)

    def connect_unix_socket(self, path: str, *args: Any, **options: Any) -> httpcore.NetworkStream:
        raise PrivateAddressError(f"{path} is not a valid address.")

    def _may(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        return address.is_global and not address.is_multicast


class _Bounded(httpcore.NetworkStream):
    """A connection none of whose steps goes beyond the deadline, however the other side divides what it sends."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._stream.write(buffer[start : start + _PIECE_BYTES], self._deadline.left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            seconds = self._deadline.left()
        except httpcore.TimeoutException:
            self.close()  # the pool does not know this connection yet
            raise
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int, deadline: _Deadline) -> list[str]:
    """The addresses of a name. Its look-up takes no time limit, so a thread does it that is left behind if it hangs."""
    answers: queue.Queue[list[str] | Exception] = queue.Queue()

    def look_up() -> None:
        try:
            answers.put([str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    try:
        found = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from None
    if isinstance(found, Exception):
        raise httpcore.ConnectError(f"{host} cannot be resolved") from found
    return found
