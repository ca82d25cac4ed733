"""The real build node that the simulated ones are like."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.nodes.fleet import Fleet
from bench.nodes.own_redis import OwnRedis
from bench.nodes.recording import monitored, repeated
from buildfarm.farm import Farm
from testkit.builds import build_node, farm_alone
from testkit.queue.duties import HOLDER, others_duties

DUTIES = {"sweeper": 2.0, "archivist": 60.0, "roller": 5.0, "inspector": 390.0}
SETTLE_SECONDS = 5.0
RECORD_SECONDS = 20.0


@contextmanager
def farm_on(redis: OwnRedis, classes: str) -> Iterator[Farm]:
    """A farm on this Redis with these classes, also for the processes that start in the block."""
    values = {"BUILDFARM_REDIS_URL": redis.url, "BUILDFARM_CLASSES": classes}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        with farm_alone("nodes") as farm:
            yield farm
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def record(redis: OwnRedis, farm: Farm) -> Fleet:
    """What one idle node sends that does not sweep, and how many connections it has. It is gone at the end."""
    with others_duties(farm.database, DUTIES):
        before = redis.counts()["connections"]
        with build_node(farm, BUILDFARM_SLOTS="2") as node:
            time.sleep(SETTLE_SECONDS)
            connections = int(redis.counts()["connections"] - before)
            with monitored(redis.port) as lines:
                time.sleep(RECORD_SECONDS)
            found = repeated(lines, HOLDER, RECORD_SECONDS)
            return Fleet(range(0), found, node.id, connections, redis.port, farm.settings.namespace)
