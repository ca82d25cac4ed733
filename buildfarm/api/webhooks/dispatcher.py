"""Turns the stream of events into webhook messages, and sends those that are due."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from kombu.exceptions import OperationalError

from buildfarm.api.webhooks.delivery import GROUP, QUEUE, TASK, Deliveries, make_webhook_celery, register
from buildfarm.api.webhooks.pushes.work import make_push_work
from buildfarm.errors import BuildfarmError
from buildfarm.settings import Settings
from buildfarm.telemetry import logger

_WAIT_SECONDS = 1.0
_ABANDONED_SECONDS = 30.0
_FORGOTTEN_SECONDS = 3600.0
# They mostly wait for receivers. A tenant has one webhook, one commit status and one turn of its push hooks at a time,
# so it takes several slow tenants to hold them all.
_SENDERS = 16


class Dispatcher:
    """The threads behind it: one follows the events, one sends what is due to Celery, and Celery's worker tries."""

    def __init__(self, settings: Settings, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._work = make_push_work(deliveries)
        self._events = deliveries.farm.events
        self._celery = make_webhook_celery(settings)
        self._member = secrets.token_hex(4)
        self._closed = threading.Event()
        register(self._celery, self._work.deliver, self._send_what_is_due)
        self._worker = self._celery.WorkController(
            hostname=f"webhooks@{self._member}", pool="threads", concurrency=_SENDERS, queues=[QUEUE],
            without_gossip=True, without_mingle=True, without_heartbeat=True,
        )  # fmt: skip
        jobs = (("events", self._follow), ("due", self._send_due), ("previews", self._work.previews.end_due))
        self._threads = [
            threading.Thread(target=self._worker.start, name="webhook worker", daemon=True),
            *(threading.Thread(target=self._repeat, args=(name, job), name=name, daemon=True) for name, job in jobs),
        ]

    def start(self) -> None:
        """From now on ended builds are reported."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads; what is due stays so, for the next process."""
        self._closed.set()
        self._worker.stop()
        for thread in self._threads:
            thread.join(timeout=5)
        self._celery.close()

    def _follow(self) -> None:
        # Events from before the first process are skipped: they report builds that ended long ago.
        self._events.join(GROUP)
        abandoned_at = time.monotonic()
        while not self._closed.is_set():
            taken = self._events.take(GROUP, self._member, wait_seconds=_WAIT_SECONDS)
            if time.monotonic() - abandoned_at > _ABANDONED_SECONDS:
                taken += self._events.abandoned(GROUP, self._member, idle_seconds=_ABANDONED_SECONDS)
                self._events.forget_members(GROUP, idle_seconds=_FORGOTTEN_SECONDS)
                abandoned_at = time.monotonic()
            for event in taken:
                self._work.plan(event)
            self._events.done(GROUP, taken)

    def _send_due(self) -> None:
        while not self._closed.wait(_WAIT_SECONDS):
            self._send_what_is_due()

    def _send_what_is_due(self) -> None:
        for delivery in self._deliveries.webhooks.due():
            self._celery.send_task(TASK, args=(str(delivery),), queue=QUEUE)

    def _repeat(self, name: str, job: Callable[[], None]) -> None:
        while not self._closed.is_set():
            try:
                job()
            except (BuildfarmError, OperationalError) as error:
                logger().warning("webhooks_wait", job=name, reason=str(error))
            except Exception:  # noqa: BLE001 - the edge of a thread
                logger().exception("webhooks_bug", job=name)
            self._closed.wait(_WAIT_SECONDS)
