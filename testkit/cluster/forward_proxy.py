"""A company's proxy: the way out for builds that have no other (RFC 9110, "CONNECT", and absolute addresses)."""

from __future__ import annotations

import base64
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from testkit.cluster.line import Line

_CHUNK_BYTES = 64 * 1024
_IDLE_SECONDS = 60.0


@dataclass
class ForwardProxy:
    """It lets those through who show its user's name and password; ``hosts`` are where they went.

    ``names`` are hosts that it alone knows, and their addresses. All that comes back goes over one ``line``.
    """

    shown: str  # as their header has it; empty: it asks for none
    line: Line = field(default_factory=Line)
    url: str = ""
    hosts: list[str] = field(default_factory=list)
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    refused: int = 0

    def serve(self, client: socket.socket) -> None:
        """One connection, from its first request to its end."""
        with client.makefile("rb") as reader:
            first, *headers = [line.decode("latin-1") for line in iter(lambda: reader.readline().strip(), b"")] or [""]
        if not first:
            return
        method, target, version = first.split(" ")
        if self.shown and not any(
            line.lower().startswith("proxy-authorization:") and self.shown in line for line in headers
        ):
            self.refused += 1
            client.sendall(
                b'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="x"\r\nConnection: close\r\n\r\n'
            )
            return
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            self._carry(client, host, int(port), b"")
            return
        parts = urlsplit(target)
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        kept = [line for line in headers if not line.lower().startswith(("proxy-", "connection:"))]
        asked = "\r\n".join([f"{method} {path} {version}", "Connection: close", *kept, "", ""])
        self._carry(client, parts.hostname or "", parts.port or 80, asked.encode("latin-1"))

    def _carry(self, client: socket.socket, host: str, port: int, head: bytes) -> None:
        self.hosts.append(host)
        with socket.create_connection(self.names.get(host, (host, port)), _IDLE_SECONDS) as server:
            if head:
                server.sendall(head)
            else:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            other = {client: server, server: client}
            while ready := select.select([*other], [], [], _IDLE_SECONDS)[0]:
                for end in ready:
                    piece = end.recv(_CHUNK_BYTES)
                    if not piece:
                        return
                    if end is server:
                        self.line.carry(len(piece))
                    other[end].sendall(piece)


@contextmanager
def forward_proxy(address: str, user: str = "", password: str = "") -> Iterator[ForwardProxy]:
    """A proxy on a free port of this address, for the length of the block; without a user it is open to all."""
    proxy = ForwardProxy(base64.b64encode(f"{user}:{password}".encode()).decode() if user else "")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                proxy.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((address, 0), Handler) as server:
        proxy.url = f"http://{f'{user}:{password}@' if user else ''}{address}:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
