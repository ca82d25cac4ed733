"""A second build node of the running farm on this machine: the smallest of clusters.

It needs root, and shares nothing with the first node but Redis and the registry, which it reaches by their addresses
in the farm's network. Everything it makes is gone at the end, however that comes.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from buildfarm.farm import Farm
from testkit.cluster.cluster import PROGRAMS, cluster, wait_for_node
from testkit.cluster.containers import address

__all__ = ["PROGRAMS", "SecondEngine", "second_engine"]


@dataclass(frozen=True)
class SecondEngine:
    """The second node: its worker's name, its engine, and the registry as both reach it."""

    id: str
    docker_url: str
    registry: str

    def pull(self, image: str) -> int:
        """Pulls an image of the farm's registry, however it is written; returns how many layers moved."""
        reference = f"{self.registry}/{image.partition('/')[2]}"
        ask = ["docker", "--host", self.docker_url, "pull", reference]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.count("Pull complete")


@contextmanager
def second_engine(farm: Farm, **variables: str) -> Iterator[SecondEngine]:
    """A second node that takes builds, for the length of the block."""
    redis_address, registry_address = f"{address('redis')}:6379", f"{address('registry')}:5000"
    redis_url = urlsplit(farm.settings.redis_url.get_secret_value())
    environment = {
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_REDIS_URL": urlunsplit(redis_url._replace(netloc=f":{redis_url.password}@{redis_address}")),
        "BUILDFARM_REGISTRY_URL": f"http://{registry_address}",
        "BUILDFARM_BUILDER": farm.builder(),
        **variables,
    }
    with cluster(environment, own_services=False) as nodes:
        second = nodes.add()
        second.start_worker()
        wait_for_node(farm, second, lambda node: node.accepting)
        yield SecondEngine(second.id, second.docker_url, registry_address)
        second.signal_worker(signal.SIGTERM)
        second.worker_ended(60)
