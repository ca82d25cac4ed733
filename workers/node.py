"""One build node: makes everything once, pre-warms, consumes builds, and drains when it is asked to stop."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import docker
from celery import Celery

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.farm import Farm, open_farm
from buildfarm.gc.storage import Storage
from buildfarm.queue.app import make_celery
from buildfarm.queue.names import farm_kinds, queue_names
from buildfarm.settings import Settings
from buildfarm.store import Database, Leases, Nodes, Wakeups
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.audit.keeper import AuditKeeper
from buildfarm.store.archive.audit.parts import AuditParts
from buildfarm.store.archive.catalog import Catalog
from buildfarm.store.keeping.collections import Collections
from buildfarm.telemetry import Logger, logger
from buildfarm.telemetry.metrics import Metrics
from buildfarm.telemetry.serving import Probes, serve_metrics
from buildfarm.telemetry.traces import open_tracer
from workers.attempt.running import RunningAttempts
from workers.caches.facts.reader import READ_SECONDS, FactsReader
from workers.engine import open_engine
from workers.pipeline import AppTools
from workers.queue import submissions
from workers.queue.consumer import consume
from workers.queue.sizes import NodeSizes
from workers.sandbox.self_check import make_isolation
from workers.tasks import Worker, register
from workers.upkeep.archiving import ARCHIVE_SECONDS, Archiving, rests_seconds
from workers.upkeep.collection import COLLECT_SECONDS, Collection
from workers.upkeep.drain import Drain
from workers.upkeep.health import Health
from workers.upkeep.janitor import Janitor
from workers.upkeep.jobs import PeriodicJobs
from workers.upkeep.pod import Pod
from workers.upkeep.pool_upkeep import PoolUpkeep, total_memory
from workers.upkeep.prewarm import Repair
from workers.upkeep.spools import SPOOLS_SECONDS, Spools
from workers.upkeep.sweeper import SWEEP_SECONDS, Sweeper, look_after_logs
from workers.upkeep.tag_repair import TAGS_SECONDS, TagRepair, open_registry
from workers.wiring import (
    make_followed,
    make_image_tools,
    make_repair,
    make_spools,
    make_tools,
    open_facts,
    open_rollouts,
    step_images,
)

_BEAT_SECONDS = 1.0
_CLEAN_SECONDS = 10.0
_REPAIR_SECONDS = 2.0
_PING_SECONDS = 3
_COST_SECONDS = 2.0
_ROLLOUTS_SECONDS = 1.0
_AHEAD_SECONDS = 0.5
_PATIENCE = 4  # times the time after which a build is archived: so long it waits for a log that its node has not sent


def run(settings: Settings) -> bool:
    """Works until SIGTERM or SIGINT, or until the farm asks it to drain; returns whether it is to start anew.

    Raises SetupError or a FarmError if it cannot start.
    """
    log = logger(node=settings.node_id)
    with ExitStack() as resources:
        resources.enter_context(_alone(settings))
        sizes = NodeSizes.of(settings, total_memory())
        farm = resources.enter_context(open_farm(settings, patience_seconds=settings.outage_seconds))
        client = resources.enter_context(closing(open_engine(settings.docker_url)))
        pinging = resources.enter_context(closing(open_engine(settings.docker_url, call_seconds=_PING_SECONDS)))
        farm.records.queued_count()  # fails here, with one sentence, where Redis cannot be reached
        metrics = Metrics(tenants=settings.metrics_tenants, sizes=tuple(sizes.capacity.sizes))
        probes = Probes()
        resources.enter_context(serve_metrics(metrics.registry, settings.metrics_host, settings.metrics_port, probes))
        farm.registry.observe(metrics.registry_answered)
        tracer = resources.enter_context(closing(open_tracer(settings, "buildfarm-node")))
        attempts = RunningAttempts(metrics)
        drain = Drain(attempts, settings.drain_seconds, log, _leave)
        repair = make_repair(settings, farm, client, metrics)
        tools = make_tools(settings, farm, client, metrics, repair)
        tools.remove_partial()
        log.info("prewarmed", builder=tools.builders.current.image)
        janitor = _janitor(settings, client, tools, attempts, log)
        janitor.clean()
        isolation = make_isolation(repair.rules, tools.sandboxes, tools.workspaces, tools.builders.current.image, log)
        tools.caches.snapshots.allow(isolation.prove())
        disk, follower = make_followed(farm, client, tools, metrics, log)
        nodes = Nodes(farm.database)
        health = Health(
            settings, pinging, disk.free_bytes, attempts, follower, drain, metrics, nodes, sizes,
            network=isolation.rules.trouble,
        )  # fmt: skip
        probes.obstacle, probes.alive = health.obstacle, health.alive
        leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max, settings.renew_seconds)
        upkeep = PeriodicJobs(log, lambda job: metrics.upkeep_failures.labels(job).inc())
        wakeups = resources.enter_context(closing(Wakeups(farm.database)))
        spools = make_spools(settings, farm, resources.enter_context(open_registry(settings)), log, metrics)
        facts = open_facts(farm, tools, nodes, attempts.names, metrics)
        for name, pause_seconds, job in (
            ("beat", _BEAT_SECONDS, health.beat),
            ("clean", _CLEAN_SECONDS, janitor.clean),
            ("make_room", _CLEAN_SECONDS, disk.make_room),
            ("network_rules", _CLEAN_SECONDS, isolation.rules.keep),
            *_ahead_jobs(tools, health, facts, repair),
            ("calls", 0, lambda: wakeups.wait(attempts.look)),
            *farm_jobs(farm, leases, nodes, metrics, spools=spools, pause=upkeep.pause),
            *_pod_jobs(settings, attempts),
            *collection_jobs(settings, farm.database, metrics, resources),
        ):
            upkeep.every(pause_seconds, job, name)
        image_tools = make_image_tools(settings, client, tools)
        worker = Worker(
            settings, tools, image_tools, farm.records, leases, farm.log_streams, attempts, metrics, tracer,
            trouble=health.trouble, rest=health.rest, unsafe=isolation.rules.trouble, spools=spools, sizes=sizes,
        )  # fmt: skip
        celery = resources.enter_context(closing(make_celery(settings, sizes.for_pops)))
        register(celery, worker)
        submissions.register(celery, farm)
        _consume_until_stopped(settings, celery, health=health, drain=drain, upkeep=upkeep, tools=tools, spools=spools)
        log.info("stopped")
    return drain.restart


def _janitor(
    settings: Settings, client: docker.DockerClient, tools: AppTools, attempts: RunningAttempts, log: Logger
) -> Janitor:
    steps = step_images(settings, client)
    return Janitor(
        client, settings.node_id, tools.workspaces, lambda: attempts.names() | tools.pool.names(), log, steps,
        tools.pool.memory,
    )  # fmt: skip


def _consume_until_stopped(
    settings: Settings,
    celery: Celery,
    *,
    health: Health,
    drain: Drain,
    upkeep: PeriodicJobs,
    tools: AppTools,
    spools: Spools,
) -> None:
    """Takes builds until the node is to stop, and leaves the farm in order."""
    try:
        consume(settings, celery, health.accepting, drain)
    except SystemExit:
        pass  # Celery's worker ends so after a warm shutdown
    finally:
        tools.caches.snapshots.end()
        # The beat ends first, so that it cannot write the node back after it left.
        upkeep.close()
        health.leave()
        pool, snapshots = tools.pool, tools.caches.snapshots
        for leave in (pool.close, pool.empty, pool.remove_used, snapshots.remove_all, spools.send):
            with suppress(BuildfarmError):  # an unreachable engine or registry leaves the rest to the next start
                leave()


def farm_jobs(
    farm: Farm, leases: Leases, nodes: Nodes, metrics: Metrics, *, spools: Spools, pause: Callable[[float], bool]
) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """Upkeep of the whole farm, which every node does: name, pause and job."""
    settings, log = farm.settings, logger(node=farm.settings.node_id)
    registry = spools.registry
    queues = queue_names(farm_kinds(settings), settings.shards)
    sweeper = Sweeper(settings.node_id, farm.records, leases, nodes, queues, settings.resend_seconds, metrics, log)
    yield "sweep", SWEEP_SECONDS, sweeper.sweep
    yield "logs", SWEEP_SECONDS, lambda: look_after_logs(farm.log_streams, sweeper.duty, log)
    yield "tags", TAGS_SECONDS, TagRepair(farm.records, registry, log, settings.signs).repair
    archivist = Archivist(
        Catalog(farm.database, settings.record_seconds), farm.log_streams, registry, settings.archive_seconds,
        settings.archive_seconds * _PATIENCE, settings.archive_kept_seconds, log,
    )  # fmt: skip
    pause_seconds = min(ARCHIVE_SECONDS, settings.archive_seconds)
    audit = AuditKeeper(AuditParts(farm.database), registry)
    archiving = Archiving(
        settings.node_id, nodes, archivist, audit, log, pause, rests_seconds(settings.archive_seconds)
    )  # fmt: skip
    yield "archive", pause_seconds, archiving.turns
    yield "spools", SPOOLS_SECONDS, spools.send
    yield "rollouts", _ROLLOUTS_SECONDS, open_rollouts(farm, nodes, log).turn


def _ahead_jobs(
    tools: AppTools, health: Health, facts: FactsReader, repair: Repair
) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """What the node has ready before a build needs it, likewise."""
    yield "repair", _REPAIR_SECONDS, lambda: repair.look(tools.builders, tools.pool)
    yield "pool", 0, PoolUpkeep(tools.pool, tools.builders, health.accepting).tend
    yield "snapshots", _AHEAD_SECONDS, tools.caches.snapshots.make
    yield "facts", READ_SECONDS, facts.turn


def _pod_jobs(settings: Settings, attempts: RunningAttempts) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """Upkeep of a node that is a pod, likewise."""
    if settings.kubernetes_url:
        pod = Pod(settings.kubernetes_url, settings.node_id)
        yield "deletion_cost", _COST_SECONDS, lambda: pod.tell_cost(len(attempts.names()))


def collection_jobs(
    settings: Settings, database: Database, metrics: Metrics, resources: ExitStack
) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """Upkeep of the registry, of a node that has its files, likewise."""
    if settings.registry_storage is not None:
        collection = Collection(
            settings,
            Storage(settings.registry_storage),
            Collections(database),
            metrics.upkeep_failures.labels("collect").inc,
            logger(node=settings.node_id),
        )
        resources.callback(collection.close)
        yield "collect", COLLECT_SECONDS, collection.look


def _leave(restart: bool) -> None:
    """Ends the process from whichever thread, whatever else runs in it."""
    if restart:
        start_anew()
    os._exit(1)


def start_anew() -> None:
    """This process becomes a new node: locks and connections close, threads end."""
    os.execv(sys.executable, [sys.executable, "-m", "workers"])


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One process a node: it would otherwise clean away the builds of the other. Raises SetupError."""
    path = settings.workspace_directory / f"{settings.node_id}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise SetupError(
            f"A build node named {settings.node_id} runs on this machine already.",
            advice="Give this one another name in BUILDFARM_NODE_ID.",
        ) from error
    except PermissionError as error:
        raise SetupError(
            f"{path.parent} is not writable.", advice="Name another folder in BUILDFARM_WORKSPACE_DIRECTORY."
        ) from error
