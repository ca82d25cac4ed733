"""One build node: makes everything once, pre-warms, consumes builds, and drains when it is told to stop."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import docker

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.farm import Farm, open_farm
from buildfarm.oci.manifest import ImageConfig
from buildfarm.queues import queue_names
from buildfarm.settings import Settings
from buildfarm.store import Calls, KnownLayers, Leases, Nodes
from buildfarm.telemetry import Logger, Metrics, Probes, logger, open_tracer, serve_metrics
from workers import entry
from workers.attempts import Attempts
from workers.boxes import Boxes
from workers.builder import Builder, Builders
from workers.buildpacks import PROFILES, Kept, Supply
from workers.cache import Caches
from workers.consumer import consume
from workers.drain import Drain
from workers.engine import engine_failures, open_engine
from workers.exporter import Exporter
from workers.fetch import SourceLimits
from workers.health import Health
from workers.isolation import make_isolation
from workers.janitor import Disk, Janitor
from workers.pipeline import Tools
from workers.pod import Pod
from workers.prewarm import Follower, prewarm
from workers.sandbox import Sandboxes
from workers.smoke import Smokes
from workers.spec import SandboxSpec
from workers.sweeper import SWEEP_SECONDS, Sweeper, look_after_logs
from workers.tags import TAGS_SECONDS, TagRepair, open_registry
from workers.tasks import Worker, register
from workers.upkeep import Upkeep
from workers.workspace import Workspaces

STACK = "trixie"  # of a builder that does not say

_BEAT_SECONDS = 1.0
_CLEAN_SECONDS = 10.0
_PING_SECONDS = 3
_FILL_SECONDS = 0.5
_COST_SECONDS = 2.0


def run(settings: Settings) -> bool:
    """Works until SIGTERM or SIGINT, or until the farm asks it to drain; returns whether it is to start anew.

    Raises SetupError or a FarmError where it cannot start.
    """
    log = logger(node=settings.node_id)
    with ExitStack() as resources:
        resources.enter_context(_alone(settings))
        farm = resources.enter_context(open_farm(settings, patience_seconds=settings.outage_seconds))
        client = open_engine(settings.docker_url)
        resources.callback(client.close)
        pinging = open_engine(settings.docker_url, call_seconds=_PING_SECONDS)
        resources.callback(pinging.close)
        farm.records.queued_count()  # fails here, with one sentence, where Redis cannot be reached
        metrics = Metrics(tenants=settings.metrics_tenants)
        probes = Probes()
        resources.enter_context(serve_metrics(metrics.registry, settings.metrics_host, settings.metrics_port, probes))
        farm.registry.observe(metrics.registry_answered)
        tracer = resources.enter_context(closing(open_tracer(settings, "buildfarm-node")))
        attempts = Attempts(metrics)
        drain = Drain(attempts, settings.drain_seconds, log, _leave)
        tools = make_tools(settings, farm, client, metrics)
        log.info("prewarmed", builder=tools.builders.current.image)
        tools.forget_halves()
        running = lambda: attempts.names() | tools.boxes.names()  # noqa: E731
        janitor = Janitor(client, settings.node_id, tools.workspaces, running, log)
        janitor.clean()
        isolation = make_isolation(
            settings, tools.sandboxes, tools.workspaces, tools.builders.current.image, log, metrics=metrics
        )
        isolation.prove()
        disk = make_disk(settings, client, tools, log)
        nodes = Nodes(farm.database)
        follower = Follower(tools.builders, lambda builder: _prewarm(client, farm, builder, metrics), log)
        health = Health(
            settings, pinging, disk.free_bytes, attempts, tools.builders, follower.follow, drain, metrics, nodes,
            network=isolation.rules.trouble,
        )  # fmt: skip
        probes.obstacle, probes.alive = health.obstacle, health.alive
        leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max, settings.renew_seconds)
        queues = queue_names(settings.classes, settings.shards)
        sweeper = Sweeper(settings.node_id, farm.records, leases, nodes, queues, settings.resend_seconds, metrics, log)
        upkeep = Upkeep(log, lambda job: metrics.upkeep_failures.labels(job).inc())
        calls = resources.enter_context(closing(Calls(farm.database)))
        for name, pause_seconds, job in (
            ("beat", _BEAT_SECONDS, health.beat),
            ("sweep", SWEEP_SECONDS, sweeper.sweep),
            ("logs", SWEEP_SECONDS, lambda: look_after_logs(farm.log_streams, log)),
            (
                "tags",
                TAGS_SECONDS,
                TagRepair(farm.records, resources.enter_context(open_registry(settings)), log).repair,
            ),
            ("clean", _CLEAN_SECONDS, janitor.clean),
            ("make_room", _CLEAN_SECONDS, disk.make_room),
            ("network_rules", _CLEAN_SECONDS, isolation.rules.keep),
            ("fill", _FILL_SECONDS, lambda: tools.boxes.fill(tools.builder.image) if health.accepting() else None),
            ("calls", 0, lambda: calls.hear(attempts.look)),
            *_pod_jobs(settings, attempts),
        ):
            upkeep.every(pause_seconds, job, name)
        worker = Worker(
            settings, tools, farm.records, leases, farm.log_streams, attempts, metrics, tracer,
            trouble=health.trouble, rest=health.rest, unsafe=isolation.rules.trouble,
        )  # fmt: skip
        register(farm.celery, worker)
        entry.register(farm.celery, farm)
        try:
            consume(settings, farm.celery, health.accepting, drain)
        except SystemExit:
            pass  # Celery's worker ends so after a warm shutdown
        finally:
            # The beat ends first, so that it cannot write the node back after it left.
            upkeep.close()
            health.leave()
            with suppress(BuildfarmError):  # an engine that is away leaves them to the next start
                tools.boxes.empty()
        log.info("stopped")
    return drain.restart


def _pod_jobs(settings: Settings, attempts: Attempts) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """What is to be done again and again where the node is a pod: name, pause and job."""
    if settings.kubernetes_url:
        pod = Pod(settings.kubernetes_url, settings.node_id)
        yield "deletion_cost", _COST_SECONDS, lambda: pod.tell_cost(len(attempts.names()))


def _leave(restart: bool) -> None:
    """Ends the process from whichever thread, whatever else runs in it."""
    if restart:
        start_anew()
    os._exit(1)


def start_anew() -> None:
    """This process becomes a new node: locks and connections close, threads end."""
    os.execv(sys.executable, [sys.executable, "-m", "workers"])


def make_disk(settings: Settings, client: docker.DockerClient, tools: Tools, log: Logger) -> Disk:
    """The node's disk; the engine's part of it counts where this process sees it. Raises NodeError."""
    with engine_failures("tell where its data is"):
        engine = Path(client.info()["DockerRootDir"])
    folders = [tools.workspaces.directory, settings.cache_directory]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)

    def builder() -> tuple[str, str]:
        current = tools.builders.current
        return current.image.partition("@")[0], current.digest

    return Disk(
        client=client,
        folders=[*folders, *([engine] if engine.is_dir() else [])],
        clean_bytes=settings.disk_clean_bytes,
        forget_caches=tools.caches.forget,
        builder=builder,
        logger=log,
    )


def _prewarm(client: docker.DockerClient, farm: Farm, builder: str, metrics: Metrics) -> Builder:
    started = time.monotonic()
    warm = prewarm(client, farm.registry, builder)
    metrics.prewarm_seconds.set(time.monotonic() - started)
    return warm


def make_tools(settings: Settings, farm: Farm, client: docker.DockerClient, metrics: Metrics) -> Tools:
    """What this node builds with; the builder is pulled here. Raises NodeError and RegistryError."""
    workspaces = Workspaces(
        settings.workspace_directory / settings.node_id,
        settings.workspace_bytes,
        settings.workspace_inodes,
        settings.user_namespace_offset,
    )
    sandboxes = Sandboxes(client, _sandbox_spec(settings, client), settings.silence_seconds)
    builder = _prewarm(client, farm, farm.builder(), metrics)
    return Tools(
        node_id=settings.node_id,
        stack=_stack(builder),
        compile_network=settings.compile_network,
        source_limits=SourceLimits(settings.source_bytes, settings.workspace_bytes, settings.workspace_inodes),
        builders=Builders(builder),
        registry=farm.registry,
        workspaces=workspaces,
        sandboxes=sandboxes,
        boxes=Boxes(workspaces, sandboxes, settings.warm_sandboxes),
        exporter=Exporter(
            registry=farm.registry,
            compression=settings.compression,
            threads=settings.compression_threads,
            media_types=settings.media_types,
            image_bytes=settings.image_bytes,
            layer_min_bytes=settings.layer_min_bytes,
            layers_max=settings.max_app_layers,
            known=KnownLayers(farm.database),
        ),
        caches=Caches(
            registry=farm.registry,
            directory=settings.cache_directory,
            cache_bytes=settings.cache_bytes,
            copies_bytes=settings.cache_copies_bytes,
            threads=settings.compression_threads,
            logger=logger(node=settings.node_id),
            count=lambda result: metrics.cache_restores.labels(result).inc(),
        ),
        imager=settings.imager,
        smokes=Smokes(client, settings.node_id, settings.memory_bytes, settings.pids_max),
        profile=PROFILES[settings.profile],
        supply=Supply(farm.registry, Kept(settings.buildpack_directory, settings.buildpack_copies_bytes)),
    )


def _stack(builder: Builder) -> str:
    """What the builder image calls itself, in its environment."""
    lines = ImageConfig.parse(builder.config).runtime.get("Env") or ()
    values: dict[str, str] = dict(line.partition("=")[::2] for line in lines)
    return values.get("STACK", STACK)


def _sandbox_spec(settings: Settings, client: docker.DockerClient) -> SandboxSpec:
    return SandboxSpec(
        node_id=settings.node_id,
        network=ensure_network(client, settings.sandbox_network),
        memory_bytes=settings.memory_bytes,
        cpus=min(settings.cpus, os.cpu_count() or 1),
        pids_max=settings.pids_max,
        files_max=settings.files_max,
        ca_bundle=settings.ca_bundle,
        runtime=settings.sandbox_runtime,
        user_namespace=settings.sandbox_user_namespace,
    )


def ensure_network(client: docker.DockerClient, name: str) -> str:
    """The bridge network of the sandboxes, in which they cannot reach one another. Raises NodeError."""
    with engine_failures("make the sandboxes' network"):
        if not client.networks.list(names=[f"^{name}$"]):
            # An engine may give every new network IPv6 by default, which the network rules do not filter.
            options = {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.enable_ipv6": "false"}
            client.networks.create(name, driver="bridge", options=options, check_duplicate=True)
    return name


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
