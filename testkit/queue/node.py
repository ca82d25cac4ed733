"""A simulated build node: the real Celery worker, task and store, with a pipeline that sleeps instead of building.

``python -m testkit.queue.node`` reads the farm's settings; BENCH_SECONDS is how long a build takes. It also knows a
task that does nothing, to compare with.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from buildfarm.config_vars.build_variables import NO_VARIABLES, BuildVariables
from buildfarm.farm import Farm, open_farm
from buildfarm.model import STABLE, Build, BuildResult, Phase, Request
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.queue.app import make_celery
from buildfarm.queue.names import farm_kinds, queue_names
from buildfarm.settings import read_settings
from buildfarm.store import Leases, Nodes
from buildfarm.telemetry import logger, set_up_logging
from buildfarm.telemetry.metrics import Metrics
from buildfarm.telemetry.traces import open_tracer
from workers.attempt.attempt import Attempt
from workers.attempt.capacity import Capacity, offered_kinds
from workers.attempt.finished import Finished
from workers.attempt.running import RunningAttempts
from workers.fetch.downloads import NO_DOWNLOADS, Downloads
from workers.image_builds.pipeline import ImageTools
from workers.pipeline import AppTools
from workers.queue.consumer import consume
from workers.queue.sizes import NodeSizes
from workers.tasks import Worker, register
from workers.upkeep.drain import Drain
from workers.upkeep.jobs import PeriodicJobs
from workers.upkeep.sweeper import SWEEP_SECONDS, Sweeper

NOTHING = "bench.nothing"
BEAT_SECONDS = 1.0
DIGEST = Digest("sha256:" + "b" * 64)

_LONG_PHASES = (Phase.PREPARE, Phase.DETECT, Phase.COMPILE, Phase.EXPORT)


@dataclass(frozen=True)
class SleepingTools:
    """What the worker asks of a node's tools when nothing is built."""

    variables: BuildVariables = NO_VARIABLES
    private: None = None
    downloads: Downloads = NO_DOWNLOADS
    sent: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def builder(self) -> Any:
        """What builds would stand on."""
        return SimpleNamespace(digest=DIGEST)

    channel = STABLE
    pool = SimpleNamespace(handed_over=threading.Event())
    builders = SimpleNamespace(held=SimpleNamespace(told=lambda: ""))  # it does not choose bases by app

    @property
    def exporter(self) -> SleepingTools:
        """What writes images."""
        return self

    @property
    def registry(self) -> SleepingTools:
        """Where tags are moved."""
        return self

    def during(self, check: Callable[[], None], build: Build | None = None) -> SleepingTools:
        """The same tools: nothing here takes long."""
        return self

    def move_tag(
        self, repository: str, tag: str, wanted: Callable[[], str], sent: Mapping[str, tuple[str, bytes]]
    ) -> None:
        """Asks for the digest before and after, as the real one does."""
        for _ in range(2):
            wanted()


class SleepingWorker(Worker):
    """A worker whose pipeline has the phases and writes of the real one; BENCH_SECONDS is the length of compile."""

    @contextmanager
    def run_pipeline(
        self,
        build: Build,
        request: Request,
        tools: AppTools,
        attempt: Attempt,
        publish: Callable[[BuildResult], None],
    ) -> Iterator[Finished]:
        """Sleeps instead of building."""
        seconds = float(os.environ.get("BENCH_SECONDS", "0"))
        for phase in _LONG_PHASES:
            with attempt.phase(phase):
                if phase is Phase.COMPILE and seconds:
                    _wait(seconds, attempt)
        result = BuildResult(
            repository=request.repository,
            digest=DIGEST,
            tag=request.tag,
            layers=(),
            uploaded_bytes=0,
            phase_seconds=dict(attempt.seconds),
            node="bench",
            attempt=build.attempt,
        )
        with attempt.phase(Phase.PUBLISH):
            publish(result)
        yield Finished(result, pinned=True)


def _beat(farm: Farm, attempts: RunningAttempts, sizes: NodeSizes) -> None:
    settings = farm.settings
    node = Node(
        id=settings.node_id, state=NodeState.READY, slots=settings.slots, builds=attempts.builds(),
        **sizes.capacity.advertised(settings, sizes.room()),
    )  # fmt: skip
    orders = Nodes(farm.database).beat(node, offered_kinds(node) if settings.offer_seconds else "")
    sizes.waiting = orders.waiting


def _wait(seconds: float, attempt: Attempt) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
        attempt.check()


def main() -> None:
    settings = read_settings()
    set_up_logging(settings)
    log = logger(node=settings.node_id)
    sizes = NodeSizes(Capacity.of(settings))
    with open_farm(settings) as farm, closing(make_celery(settings, sizes.for_pops)) as celery:
        metrics = Metrics()
        attempts = RunningAttempts(metrics)
        drain = Drain(attempts, settings.drain_seconds, log, lambda restart: os._exit(1))
        leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max, settings.renew_seconds)
        queues = queue_names(farm_kinds(settings), settings.shards)
        sweeper = Sweeper(
            settings.node_id, farm.records, leases, Nodes(farm.database), queues, settings.resend_seconds, metrics, log
        )
        upkeep = PeriodicJobs(log, lambda job: None)
        upkeep.every(SWEEP_SECONDS, sweeper.sweep, "sweep")
        upkeep.every(BEAT_SECONDS, lambda: _beat(farm, attempts, sizes), "beat")
        worker = SleepingWorker(
            settings, cast("AppTools", SleepingTools()), cast("ImageTools", None),
            farm.records, leases, farm.log_streams, attempts, metrics,
            open_tracer(settings, "bench"), trouble=lambda: "", rest=lambda: None,
            sizes=sizes,
        )  # fmt: skip
        register(celery, worker)

        @celery.task(name=NOTHING, ignore_result=True)
        def nothing(argument: str) -> None:
            """What a bare Celery task costs."""

        try:
            consume(settings, celery, lambda: True, drain)
        except SystemExit:
            pass
        finally:
            upkeep.close()


if __name__ == "__main__":
    main()
