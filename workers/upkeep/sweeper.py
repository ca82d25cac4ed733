"""The sweeper: builds whose node went silent, or whose message was lost, get a new message. Some node sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from buildfarm.errors import NodeLostError
from buildfarm.model import Failure, Fault
from buildfarm.queue.names import SUBMIT_QUEUE
from buildfarm.store import Leases, Logs, Nodes, Records
from buildfarm.telemetry import Logger
from buildfarm.telemetry.metrics import Metrics
from workers.upkeep.jobs import Duty

SWEEP_SECONDS = 1.0
# A sweeper that died is followed by another node this much later, which adds to the time until its builds run again.
_LEAD_SECONDS = 2.0

_BATCH = 100
_DOUBT_SECONDS = 600  # a build that waits this long for its turn gets a second message


@dataclass(frozen=True)
class Sweeper:
    """One look over the farm; every step is atomic, so that two nodes may do it at once, but one is enough."""

    node_id: str
    records: Records
    leases: Leases
    nodes: Nodes
    queues: Sequence[str]  # all of the farm's
    resend_seconds: float
    metrics: Metrics
    logger: Logger

    @cached_property
    def duty(self) -> Duty:
        """Which node sweeps."""
        return Duty(self.nodes, self.node_id, "sweeper", _LEAD_SECONDS)

    def sweep(self) -> None:
        """Raises StoreError."""
        if not self.duty.is_mine():
            return
        doubt = self.leases.sweep()
        if doubt == "clear":
            self._take_back_expired()
        elif doubt == "begins":
            self.logger.warning("leases_in_doubt", seconds=self.leases.lease_seconds)
        if due := self.leases.send_due(_BATCH):
            self.logger.info("attempts_due", builds=due)
        self._resend_lost()
        self._expire()
        for node_id in self.nodes.mark_gone():
            self.logger.warning("node_gone", gone=node_id)

    def _take_back_expired(self) -> None:
        for build_id in self.leases.expired(_BATCH):
            answer = self.leases.take_back(build_id, _LOST)
            if answer != "stale":
                self.metrics.leases_expired.inc()
            self.logger.warning("lease_expired", build=build_id, now=answer)

    def _resend_lost(self) -> None:
        # A long queue is not a sign of loss: only builds beyond the number of messages have none.
        queues = [queue for queue in self.queues if queue != SUBMIT_QUEUE]  # what is there is no build yet
        messages = self.records.message_count(queues) + self.leases.waiting_count()
        missing = self.records.queued_count() > messages
        sent = self.records.send_overdue(self.resend_seconds, _BATCH, first=True) if missing else []
        if not missing:
            # Messages of cancelled builds are among those that were counted, and may hide a loss. A second message is
            # harmless where it takes its turn.
            sent = self.records.send_overdue(_DOUBT_SECONDS, _BATCH, first=False)
        if sent:
            self.metrics.messages_resent.inc(len(sent))
            self.logger.warning("messages_sent_again", builds=sent)

    def _expire(self) -> None:
        for build_id in self.records.admission.expire(_BATCH):
            self.logger.info("build_expired", build=build_id)
        for build_id in self.records.admission.fail_of_removed_classes(_BATCH):
            self.logger.warning("class_removed", build=build_id)


def look_after_logs(logs: Logs, duty: Duty, log: Logger) -> None:
    """Removes logs whose time is over, and keeps their sums right, on the node that sweeps. Raises StoreError."""
    if not duty.held:
        return
    removed, wrong_bytes = logs.look_after()
    if removed:
        log.info("logs_removed", logs=removed)
    if wrong_bytes:
        log.warning("log_sums_corrected", wrong_bytes=wrong_bytes)


_SILENT = NodeLostError(
    "The node that ran the build went silent in each of its attempts.",
    advice="If other builds on those nodes succeed, something in this one makes its node fail.",
)
_LOST = Failure(code=_SILENT.code, fault=Fault.FARM, phase=None, message=_SILENT.message, advice=_SILENT.advice)
