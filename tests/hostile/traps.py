"""What a build must not reach, and the one web server that it may: a port of this machine, and another machine.

A trap is a listener that counts who gets through to it. The node itself reaches every trap; a build must reach none.
"""

from __future__ import annotations

import functools
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA = "169.254.169.254"
WIRESERVER = "168.63.129.16"  # Azure's, a public address
WIRESERVER_PORTS = (80, 32526, 53)
PRIVATE = "10.77.77.77"
OUTSIDE = "buildfarm-meta"


@dataclass
class Trap:
    """A TCP port; ``seen`` counts the connections that got through."""

    address: str
    port: int
    seen: int = 0


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Files, and redirects: /to/<address> leads to http://<address>."""

    def send_head(self) -> Any:
        if "/to/" in self.path:
            self.send_response(302)
            self.send_header("Location", "http://" + self.path.partition("/to/")[2])
            self.end_headers()
            return None
        return super().send_head()

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def serve(directory: Path, address: str) -> Iterator[int]:
    """A web server for the files of a directory; its port."""
    server = http.server.ThreadingHTTPServer((address, 0), functools.partial(_Pages, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def open_trap() -> Iterator[Trap]:
    """A port on every address of this machine."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        trap = Trap("0.0.0.0", server.getsockname()[1])

        def count() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                trap.seen += 1
                with suppress(OSError):
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nthrough")
                    connection.close()

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        yield trap
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def another_machine(web_root: Path) -> Iterator[tuple[str, ...]]:
    """A network namespace with metadata addresses and a private one, to which this machine has a route."""
    addresses = (METADATA, WIRESERVER, PRIVATE)
    with ExitStack() as undo:
        for left in (["ip", "netns", "del", OUTSIDE], ["ip", "link", "del", "bfmeta"]):
            subprocess.run(left, capture_output=True, check=False)
        _run("ip", "netns", "add", OUTSIDE)
        undo.callback(_run, "ip", "netns", "del", OUTSIDE)
        _run("ip", "link", "add", "bfmeta", "type", "veth", "peer", "name", "eth0", "netns", OUTSIDE)
        _run("ip", "addr", "add", "10.77.78.1/30", "dev", "bfmeta")
        _run("ip", "link", "set", "bfmeta", "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", "10.77.78.2/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            *(("addr", "add", f"{address}/32", "dev", "lo") for address in addresses),
            ("route", "add", "default", "via", "10.77.78.1"),
        ):
            _run("ip", "-n", OUTSIDE, *command)
        for address in addresses:
            _run("ip", "route", "add", f"{address}/32", "via", "10.77.78.2")
        for port in WIRESERVER_PORTS:
            inside = ["nsenter", f"--net=/run/netns/{OUTSIDE}", sys.executable, "-m", "http.server", str(port)]
            server = subprocess.Popen(
                inside, cwd=web_root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            undo.callback(server.wait)
            undo.callback(server.kill)
        deadline = time.monotonic() + 10
        while not all(_reaches(address, port) for address in addresses for port in WIRESERVER_PORTS):
            assert time.monotonic() < deadline, "this machine does not reach its own traps: they would prove nothing"
            time.sleep(0.1)
        yield addresses


def _reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
