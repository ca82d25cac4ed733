"""The Celery application: names of queues and tasks, and how messages are delivered.

A message holds a build's id and nothing else. It only wakes a worker up; the record in Redis is the truth.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from buildfarm.errors import StoreError
from buildfarm.settings import Settings

TASK = "buildfarm.build"
RETRY_QUEUE = "build.retry"

# Longer than any build may take, so that Redis hands out no message of a build that still runs. Lost builds do not
# wait for it: their lease ends after seconds, and they get a new message.
_VISIBILITY_SECONDS = 7200


class RetryThenRoundRobin:
    """The order in which a worker asks its queues: lost builds first, then every shard in turn.

    kombu takes such a class by its path (``queue_order_strategy``) and calls these three methods. The shards start
    shuffled: otherwise all workers that were just started would serve the same tenants first.
    """

    def __init__(self) -> None:
        self._retry: list[str] = []
        self._shards: list[str] = []

    def update(self, queues: Iterable[str]) -> None:
        """From now on these are the queues."""
        names = list(queues)
        self._retry = [name for name in names if name == RETRY_QUEUE]
        self._shards = [name for name in names if name != RETRY_QUEUE]
        random.shuffle(self._shards)

    def consume(self, count: int) -> list[str]:
        """The first ``count`` queues in the order of asking."""
        return [*self._retry, *self._shards][:count]

    def rotate(self, served: str) -> str:
        """A message came from this queue: its turn comes again when all others had theirs."""
        if served in self._shards:
            self._shards.remove(served)
            self._shards.append(served)
        return served


def shard_of(tenant: str, shards: int) -> str:
    """The queue of a tenant's builds."""
    number = int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:8], "big") % shards
    return f"build.{number}"


def queue_names(shards: int) -> tuple[str, ...]:
    """Every queue that a worker consumes."""
    return (RETRY_QUEUE, *(f"build.{number}" for number in range(shards)))


def make_celery(settings: Settings) -> Celery:
    """A Celery application of these settings; it never becomes the process's current one. Connects at first use."""
    app = Celery("buildfarm", set_as_current=False, broker=settings.redis_url.get_secret_value())
    app.conf.update(
        task_queues=[Queue(name) for name in queue_names(settings.shards)],
        task_default_queue=RETRY_QUEUE,
        task_create_missing_queues=False,  # a message in a queue that nobody reads would be lost
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
        # Whoever can write to Redis could otherwise shut all workers down with one message.
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
            "global_keyprefix": settings.namespace,
            "visibility_timeout": _VISIBILITY_SECONDS,
            "unacked_mutex_expire": 10,
            "priority_steps": [0],
            "queue_order_strategy": f"{__name__}:{RetryThenRoundRobin.__name__}",
            "socket_timeout": 10,  # over the second that a worker's blocking pop takes
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


def send(app: Celery, build_ids: Sequence[str], queue: str) -> None:
    """Wakes a worker up for each build. Raises StoreError where Redis cannot be reached."""
    try:
        for build_id in build_ids:
            app.send_task(TASK, args=(build_id,), queue=queue)
    except OperationalError as error:
        raise StoreError("Redis does not take messages.", advice="Check that it runs: buildfarm status.") from error
