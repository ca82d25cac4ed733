"""Clients and receivers that hold a connection open and hardly send: what one of them could do to all others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import httpx

from testkit.serving import Api

_PACE_SECONDS = 0.2


@contextmanager
def stalled_uploads(api: Api, tokens: Sequence[str], count: int) -> Iterator[list[socket.socket]]:
    """Uploads of these tokens in turn that stop after their first bytes, for the length of the block."""
    with ExitStack() as opened:
        connections = []
        for number in range(count):
            connection = opened.enter_context(socket.create_connection(address_of(api.url)))
            connection.sendall(upload_head(tokens[number % len(tokens)], 1_000_000) + b"\x1f\x8b")
            connections.append(connection)
        yield connections


def upload_head(token: str, size_bytes: int) -> bytes:
    """The head of a request that sends a source."""
    lines = (
        "POST /v1/sources HTTP/1.1", "Host: farm", f"Authorization: Bearer {token}", "Content-Type: application/gzip",
        f"Content-Length: {size_bytes}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an address."""
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def answered(connections: Sequence[socket.socket]) -> list[int]:
    """Statuses of those uploads that have been answered by now."""
    found = []
    for connection in connections:
        connection.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            if head := connection.recv(64, socket.MSG_PEEK):
                found.append(int(head.split()[1]))
    return found


def slowest(ask: Callable[[], httpx.Response], status: int, seconds: float) -> float:
    """The longest time of this request, repeated for so many seconds; one without this answer takes for ever."""
    longest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.monotonic()
        try:
            good = ask().status_code == status
        except httpx.TransportError:
            good = False
        if not good:
            return float("inf")
        longest = max(longest, time.monotonic() - started)
    return longest


@dataclass
class Trickler:
    """A server that answers one byte at a time and never to the end."""

    url: str
    most_at_once: int = 0
    opened: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, change: int) -> None:
        """Counts a connection that was opened or has ended."""
        with self._lock:
            self._open += change
            self.opened += max(change, 0)
            self.most_at_once = max(self.most_at_once, self._open)


@contextmanager
def trickling(start: bytes = b"HTTP/1.1 200 OK\r\n", piece: bytes = b"x") -> Iterator[Trickler]:
    """Such a server for the length of the block; ``start`` comes at once, then ``piece`` again and again."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        trickler = Trickler(f"http://127.0.0.1:{server.getsockname()[1]}/hook")

        def answer(connection: socket.socket) -> None:
            trickler.count(1)
            with connection, suppress(OSError):
                connection.sendall(start)
                while piece and not ended.wait(_PACE_SECONDS):
                    connection.sendall(piece)
                ended.wait()
            trickler.count(-1)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield trickler
        finally:
            ended.set()
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
