"""A farm with nothing in it, and simulated nodes for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.settings import read_settings
from buildfarm.sources.address import ArtifactSource

SOURCE = ArtifactSource(repository="sources/bench", digest=Digest("sha256:" + "a" * 64))


@contextmanager
def fresh_farm(**changes: Any) -> Iterator[Farm]:
    """A farm on the same Redis with nothing in it; it is emptied at the end."""
    settings = read_settings().model_copy(update={"namespace": f"bench-{uuid.uuid4().hex[:8]}:", **changes})
    with open_farm(settings) as farm:
        try:
            yield farm
        finally:
            client = farm.database.client
            pipeline = client.pipeline(transaction=False)
            for number, key in enumerate(client.scan_iter(f"{settings.namespace}*", count=5000)):
                pipeline.unlink(key)
                if number % 5000 == 0:
                    pipeline.execute()
            pipeline.execute()


@contextmanager
def node(farm: Farm, slots: int, seconds: float = 0, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A simulated node of this farm, for the length of the block; it consumes when the block begins."""
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_NODE_ID": uuid.uuid4().hex[:8],
        "BUILDFARM_SLOTS": str(slots),
        "BUILDFARM_LOG_LEVEL": "warning",
        "BENCH_SECONDS": str(seconds),
        **variables,
    }
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "testkit.queue.node"], env=environment)
    try:
        _wait_for_node(farm)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_node(farm: Farm) -> None:
    """A node that has just started takes this build first."""
    farm.wait(farm.submit(request("first", cached_result=False)).id, timeout_seconds=60)


def request(tenant: str, app: str = "app", **fields: Any) -> BuildRequest:
    """Something to build."""
    return BuildRequest(tenant=tenant, app=app, source=SOURCE, **fields)
