"""A node of a soak, without an engine: ``python -m verify.soak.node SOAK``. Queue and upkeep are a real node's."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

from buildfarm.farm import open_farm
from buildfarm.node import Node, NodeState
from buildfarm.queue.app import make_celery
from buildfarm.queue.names import TASK
from buildfarm.settings import read_settings
from buildfarm.store import Leases, Nodes
from buildfarm.store.archive import plan
from buildfarm.telemetry import logger, set_up_logging
from buildfarm.telemetry.metrics import Metrics
from verify.soak.building import Building
from workers.attempt.running import RunningAttempts
from workers.node import collection_jobs, farm_jobs
from workers.queue.consumer import consume
from workers.upkeep.drain import Drain
from workers.upkeep.jobs import PeriodicJobs
from workers.upkeep.tag_repair import open_registry
from workers.wiring import make_spools

SPAN = "SOAK_SPAN_SECONDS"
_BEAT_SECONDS = 1.0


def main() -> None:
    """Works until SIGTERM."""
    settings = read_settings()
    set_up_logging(settings)
    plan.SPAN_SECONDS = float(os.environ[SPAN])  # as short as all else here; there is no setting for it
    log = logger(node=settings.node_id)
    with ExitStack() as resources:
        farm = resources.enter_context(open_farm(settings, patience_seconds=settings.outage_seconds))
        metrics = Metrics()
        registry = resources.enter_context(open_registry(settings))
        spools = make_spools(settings, farm, registry, log, metrics)
        leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max, settings.renew_seconds)
        nodes = Nodes(farm.database)

        def beat() -> None:
            node = Node(id=settings.node_id, state=NodeState.READY, slots=settings.slots, builds=())
            nodes.beat(node, " ".join(settings.served_classes))

        upkeep = PeriodicJobs(log, lambda job: metrics.upkeep_failures.labels(job).inc())
        upkeep.every(_BEAT_SECONDS, beat, "beat")
        for name, pause_seconds, job in (
            *farm_jobs(farm, leases, nodes, metrics, spools=spools, pause=upkeep.pause),
            *collection_jobs(settings, farm.database, metrics, resources),
        ):
            upkeep.every(pause_seconds, job, name)
        celery = resources.enter_context(closing(make_celery(settings)))
        building = Building(farm, leases, spools, log)
        celery.task(name=TASK, ignore_result=True)(building.build)
        drain = Drain(RunningAttempts(metrics), settings.drain_seconds, log, lambda restart: os._exit(1))
        try:
            consume(settings, celery, lambda: True, drain)
        except SystemExit:
            pass  # Celery's worker ends so after a warm shutdown
        finally:
            upkeep.close()
            spools.send()


if __name__ == "__main__":
    main()
