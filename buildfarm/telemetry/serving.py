"""``/metrics`` over HTTP, and beside it the two probes that Kubernetes asks a node for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from buildfarm.telemetry.listening import listen


@dataclass
class Probes:
    """What a process answers; a node sets both functions once it has something to say."""

    obstacle: Callable[[], str] = lambda: "it is starting"  # why it takes no builds; empty if it does
    alive: Callable[[], bool] = lambda: True


@contextmanager
def serve_metrics(registry: CollectorRegistry, host: str, port: int, probes: Probes | None = None) -> Iterator[None]:
    """``/metrics``, ``/readyz`` and ``/healthz`` for the length of the block; nothing if the port is 0."""
    if not port:
        yield
        return
    metrics = make_wsgi_app(registry)
    answers = probes or Probes(obstacle=lambda: "")

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path not in ("/readyz", "/healthz"):
            answered: Iterable[bytes] = metrics(environ, start)
            return answered
        trouble = (
            answers.obstacle() if path == "/readyz" else "" if answers.alive() else "its periodic jobs have stalled"
        )
        start("503 Service Unavailable" if trouble else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{trouble or 'ok'}\n".encode()]

    server = _Server(listen(host, port))
    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listener: socket) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A line for each scrape would be noise."""
