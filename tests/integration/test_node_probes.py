"""What a node answers to the probes of Kubernetes."""

from __future__ import annotations

import httpx

from testkit.builds import build_node, farm_alone
from testkit.serving import free_port


def test_a_node_that_takes_builds_says_that_it_is_ready(services):
    port = free_port()
    with (
        farm_alone("probes") as farm,
        build_node(farm, BUILDFARM_METRICS_PORT=str(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        ready, alive = client.get("/readyz"), client.get("/healthz")
        assert (ready.status_code, ready.text) == (200, "ok\n")
        assert (alive.status_code, alive.text) == (200, "ok\n")
        assert "buildfarm_node_accepting 1.0" in client.get("/metrics").text
