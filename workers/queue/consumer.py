"""Celery's worker on this node: it consumes messages while the gate is open, until a signal ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery, signals
from celery.worker.consumer.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu import Queue

from buildfarm.queue.names import node_kinds, node_queue, parts_of, queue_names
from buildfarm.settings import Settings
from buildfarm.telemetry import logger
from workers.queue.gate import make_gate
from workers.upkeep.drain import Drain

_RETRY_SECONDS_MAX = 2.0


class PromptConsumer(Consumer):
    """Retries an unreachable Redis every two seconds; Celery's own steps grow to 30 s and cannot be set.

    Measured after 34 s without Redis: it consumed again after 2.1 s instead of 9.2 s.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """The connection, as soon as there is one; a signal to stop ends the wait."""
        return conn.ensure_connection(
            _tell,
            None,
            interval_start=0.5,
            interval_step=0.5,
            interval_max=_RETRY_SECONDS_MAX,
            callback=maybe_shutdown,
        )


def consume(settings: Settings, app: Celery, accepting: Callable[[], bool], drain: Drain) -> None:
    """Runs Celery's worker until a signal ends it; it returns when the running builds have ended."""
    kinds = node_kinds(settings)
    own = tuple(node_queue(settings.node_id, size) for size in {parts_of(kind)[1]: None for kind in kinds})
    app.conf.task_queues = [*app.conf.task_queues, *map(Queue, own)]
    app.steps["consumer"].add(make_gate(accepting, (*queue_names(kinds, settings.shards), *own)))
    app.conf.worker_consumer = f"{__name__}:{PromptConsumer.__name__}"

    def keep_our_logging(**_: object) -> None:
        """Celery sets logging up by itself unless this signal has a receiver."""

    signals.worker_shutting_down.connect(drain.signalled, weak=False)
    signals.setup_logging.connect(keep_our_logging, weak=False)
    try:
        worker = app.Worker(
            hostname=f"buildfarm@{settings.node_id}",
            pool="threads",
            concurrency=settings.slots,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()
    finally:
        signals.worker_shutting_down.disconnect(drain.signalled)
        signals.setup_logging.disconnect(keep_our_logging)


def _tell(error: Exception, seconds: float) -> None:
    logger().warning("queue_away", reason=str(error), again_seconds=seconds)
