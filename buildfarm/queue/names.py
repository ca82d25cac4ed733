"""The names of queues and tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

TASK = "buildfarm.build"
SUBMIT_TASK = "buildfarm.submit"
SUBMIT_QUEUE = "build.submit"
_NODE = ".node"


def node_queue(node_id: str) -> str:
    """The queue of builds that are offered to one node; its name never ends like that of another queue."""
    return f"build.{node_id}{_NODE}"


def is_node_queue(queue: str) -> bool:
    """Whether one node alone reads this queue."""
    return queue.endswith(_NODE)


def class_of(queue: str) -> str:
    """The class whose builds wait in a queue."""
    return queue.split(".")[1]


def is_shard(queue: str) -> bool:
    """Whether a queue is one of the many that a class's tenants are spread over."""
    return queue.rpartition(".")[2].isdigit()


def shard_of(tenant: str, build_class: str, shards: int) -> str:
    """The queue of a tenant's builds of a class."""
    number = int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:8], "big") % shards
    return f"build.{build_class}.{number}"


def queue_names(classes: Iterable[str], shards: int) -> tuple[str, ...]:
    """Every queue that a worker consumes which serves these classes; builds that were lost have their own one."""
    names = tuple(classes)
    retries = (f"build.{name}.retry" for name in names)
    return (*retries, SUBMIT_QUEUE, *(f"build.{name}.{number}" for name in names for number in range(shards)))
