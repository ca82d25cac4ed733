"""The Celery application: how messages are delivered, and in which order.

A message holds a build's id and nothing else. It only wakes a worker up; the record in Redis is the truth.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Protocol

from celery import Celery
from kombu import Queue

from buildfarm.queue.names import SUBMIT_QUEUE, class_of, is_shard, node_kinds, queue_names, size_of_queue
from buildfarm.queue.redis_address import parse_redis
from buildfarm.queue.transport import transport_for
from buildfarm.settings import Settings

# Longer than any build may take, so that Redis hands out no message of a build that still runs. Lost builds do not
# wait for it: their lease ends after seconds, and they get a new message.
_VISIBILITY_SECONDS = 7200


class SizesTaken(Protocol):
    """What a node of several sizes decides before each pop."""

    def fitting(self) -> Collection[str]:
        """The sizes of which a build may come now."""

    def took(self, size: str) -> None:
        """A build of this size comes."""


class FairOrder:
    """The order in which a worker asks its queues: lost builds first, then classes by weight, and shards in turn.

    kombu takes it as ``queue_order_strategy`` and calls `update`, `consume` and `rotate`; what `consume` returns goes
    into BRPOP, which takes from the first queue that has a message. Stride scheduling (Waldspurger 1995): a class that
    was served moves back by one over its weight. The shards start shuffled: otherwise all workers that were just
    started would serve the same tenants first.
    """

    def __init__(self, weights: Mapping[str, int], sizes: SizesTaken | None = None) -> None:
        self._weights = weights
        self._sizes = sizes  # None: the node serves one, and its slots say how many builds come
        self._asked: frozenset[str] = frozenset()
        self._first: list[str] = []
        self._shards: dict[str, list[str]] = {}
        self._passes: dict[str, float] = {}

    def update(self, queues: Iterable[str]) -> None:
        """From now on these are the queues."""
        names = list(queues)
        self._shards = {name: [] for name in self._weights}
        for queue in names:
            if is_shard(queue):
                self._shards[class_of(queue)].append(queue)
        for shards in self._shards.values():
            random.shuffle(shards)
        self._first = [queue for queue in names if not is_shard(queue)]
        self._passes = {name: 1 / weight for name, weight in self._weights.items()}

    def consume(self, count: int) -> list[str]:
        """The first ``count`` queues in the order of asking."""
        queues = [*self._first, *(queue for name in self._order() for queue in self._shards[name])][:count]
        if self._sizes is None:
            return queues
        self._asked = frozenset({*self._sizes.fitting(), ""})
        return [queue for queue in queues if size_of_queue(queue) in self._asked]

    def is_outdated(self) -> bool:
        """Whether builds of a size may come that the newest `consume` left out."""
        return self._sizes is not None and not self._asked.issuperset(self._sizes.fitting())

    def rotate(self, served: str) -> str:
        """A message came from this queue: its turn comes again when all others had theirs."""
        if self._sizes is not None and (size := size_of_queue(served)):
            self._sizes.took(size)
        if not is_shard(served) or served not in self._shards.get(class_of(served), ()):
            return served
        name = class_of(served)
        shards = self._shards[name]
        shards.remove(served)
        shards.append(served)
        # Classes that were asked before had nothing: they save up no turns for later.
        for idle in self._order():
            if idle == name:
                break
            self._passes[idle] = self._passes[name]
        self._passes[name] += 1 / self._weights[name]
        return served

    def _order(self) -> list[str]:
        return sorted(self._weights, key=lambda name: (self._passes[name], -self._weights[name]))


def make_celery(settings: Settings, sizes: SizesTaken | None = None) -> Celery:
    """A Celery application of these settings; it never becomes the process's current one. Connects at first use."""
    kinds = node_kinds(settings)
    where = parse_redis(settings.redis_url.get_secret_value(), settings.redis_ca)
    app = Celery("buildfarm", set_as_current=False, broker=where.broker_url)
    app.conf.update(
        broker_transport=transport_for(where.broker_url),
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED, **where.tls_options} if where.tls else None,
        task_queues=[Queue(name) for name in queue_names(kinds, settings.shards)],
        task_default_queue=SUBMIT_QUEUE,
        task_create_missing_queues=False,  # a message in a queue without a reader would be lost
        task_serializer="json",
        accept_content=["json"],
        # The record is the result; Celery's own results and events cost 20 % and 36 % of the throughput.
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # A free slot takes one message, and leaves the others to other nodes.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        # A client that can write to Redis could otherwise shut all workers down with one message.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_publish_retry_policy={
            "max_retries": 3,
            "interval_start": 0.1,
            "interval_step": 0.3,
            "interval_max": 1.0,
        },
        broker_transport_options={
            **where.broker_options,
            "global_keyprefix": settings.namespace,
            "visibility_timeout": _VISIBILITY_SECONDS,
            "unacked_mutex_expire": 10,
            "priority_steps": [0],
            "queue_order_strategy": partial(FairOrder, kinds, sizes),
            # No retries: they would send a pop again on a connection that has one (buildfarm/queue/waits.py).
            "socket_timeout": 10,  # over the time that a blocking pop waits
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 6,  # a pop whose answer is overdue for so long has lost its Redis
        },
    )
    return app
