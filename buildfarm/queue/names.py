"""The names of queues and tasks, and of the kinds of builds that wait in queues. Pure.

A build of the size `standard` waits in the queues of its class. One of another size waits in those of its **kind**, the
class and the size with an X between: neither has an upper-case letter, and the store's scripts take a kind for a class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from buildfarm.settings import Settings

TASK = "buildfarm.build"
SUBMIT_TASK = "buildfarm.submit"
SUBMIT_QUEUE = "build.submit"
STANDARD = "standard"  # the size of builds that ask for none
_NODE = ".node"
_BETWEEN = "X"


def size_of(request: object) -> str:
    """The size that a request asks for."""
    return getattr(request, "size", None) or STANDARD


def kind_of(build_class: str, size: str) -> str:
    """The name of the queues of a class's builds of a size."""
    return build_class if size == STANDARD else f"{build_class}{_BETWEEN}{size}"


def parts_of(kind: str) -> tuple[str, str]:
    """The class and the size of a kind."""
    build_class, _, size = kind.partition(_BETWEEN)
    return build_class, size or STANDARD


def farm_kinds(settings: Settings) -> dict[str, int]:
    """Every kind of build that the farm takes, and its weight, which is its class's."""
    return _kinds(settings.classes, (STANDARD, *settings.sizes))


def node_kinds(settings: Settings) -> dict[str, int]:
    """Those that this node serves, in the farm's order."""
    served = (size for size in (STANDARD, *settings.sizes) if size in settings.node_sizes)
    return _kinds(settings.served_classes, served)


def node_queue(node_id: str, size: str = STANDARD) -> str:
    """The queue of builds of a size that are offered to one node; its name never ends like that of another queue."""
    return f"build.{node_id}{'' if size == STANDARD else f'+{size}'}{_NODE}"


def is_node_queue(queue: str) -> bool:
    """Whether one node alone reads this queue."""
    return queue.endswith(_NODE)


def class_of(queue: str) -> str:
    """The class whose builds wait in a queue, or their kind."""
    return queue.split(".")[1]


def size_of_queue(queue: str) -> str:
    """The size of the builds whose messages are in a queue; empty if it has no builds."""
    if queue == SUBMIT_QUEUE:
        return ""
    if is_node_queue(queue):
        return queue.removesuffix(_NODE).partition("+")[2] or STANDARD
    return parts_of(class_of(queue))[1] if queue.count(".") > 1 else ""


def queue_of(delivery: Mapping[str, Any] | None) -> str:
    """The queue that a message was sent to, by Celery's delivery information; empty if it does not say."""
    return str((delivery or {}).get("routing_key") or "")


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


def _kinds(classes: Mapping[str, int], sizes: Iterable[str]) -> dict[str, int]:
    return {kind_of(name, size): weight for size in sizes for name, weight in classes.items()}
