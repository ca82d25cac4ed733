"""What a node answers to probes, over HTTP."""

from __future__ import annotations

import socket

import httpx
from prometheus_client import CollectorRegistry, Gauge

from buildfarm.telemetry.serving import Probes, serve_metrics


def test_a_node_is_alive_at_once_ready_later_and_tells_why_not():
    registry = CollectorRegistry()
    Gauge("slots", "Slots", registry=registry).set(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    probes = Probes()
    with (
        serve_metrics(registry, "127.0.0.1", port, probes),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert client.get("/healthz").status_code == 200
        early = client.get("/readyz")
        assert (early.status_code, early.text) == (503, "it is starting\n")
        probes.obstacle = lambda: ""
        assert client.get("/readyz").status_code == 200
        assert "slots 2.0" in client.get("/metrics").text
        probes.alive = lambda: False
        assert client.get("/healthz").status_code == 503
