"""The sweeper: builds whose node went silent, or whose message was lost, get a new message. Runs on every node."""

from __future__ import annotations

from dataclasses import dataclass

from celery import Celery

from buildfarm.errors import NodeError
from buildfarm.model import Failure, Fault, State
from buildfarm.queues import RETRY_QUEUE, queue_names, send
from buildfarm.store import Leases, Records
from buildfarm.telemetry import Logger, Metrics

_BATCH = 100


@dataclass(frozen=True)
class Sweeper:
    """One look over the farm; every step is atomic, so that any number of nodes may do it at once."""

    celery: Celery
    records: Records
    leases: Leases
    shards: int
    resend_seconds: float
    metrics: Metrics
    logger: Logger

    def sweep(self) -> None:
        """Raises StoreError."""
        # While Redis was down nobody could renew: right after its start an ended lease says nothing about its holder.
        if self.records.database.uptime_seconds() > self.leases.lease_seconds:
            self._take_back_expired()
        self._resend_lost()

    def _take_back_expired(self) -> None:
        for build_id in self.leases.expired(_BATCH):
            answer = self.leases.take_back(build_id, _LOST)
            if answer != "stale":
                self.metrics.leases_expired.inc()
            self.logger.warning("lease_expired", build=build_id, now=answer)
            if answer == State.QUEUED:
                send(self.celery, [build_id], RETRY_QUEUE)

    def _resend_lost(self) -> None:
        # A long queue is no sign of loss: only builds beyond the number of messages have none.
        missing = self.records.queued_count() - self.records.message_count(queue_names(self.shards))
        if missing <= 0:
            return
        overdue = self.records.overdue(self.resend_seconds, _BATCH)
        if overdue:
            self.metrics.messages_resent.inc(len(overdue))
            self.logger.warning("messages_sent_again", builds=overdue)
            send(self.celery, overdue, RETRY_QUEUE)


_SILENT = NodeError("The node that ran the build went silent.")
_LOST = Failure(code=_SILENT.code, fault=Fault.FARM, phase=None, message=_SILENT.message, advice=_SILENT.advice)
