"""One build node: makes everything once, pre-warms, consumes builds, and drains when it is told to stop."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker
from celery import signals

from buildfarm.errors import BuildfarmError, NodeError, SetupError
from buildfarm.farm import Farm, open_farm
from buildfarm.model import Node
from buildfarm.queues import queue_names
from buildfarm.settings import Settings
from buildfarm.store import KnownLayers, Leases, Nodes
from buildfarm.telemetry import Logger, Metrics, logger, open_tracer, serve_metrics
from workers import entry
from workers.cache import Caches
from workers.engine import engine_failures, open_engine
from workers.exporter import Exporter
from workers.fetch import SourceLimits
from workers.gate import make_gate
from workers.isolation import make_isolation
from workers.janitor import Janitor
from workers.pipeline import Tools
from workers.prewarm import prewarm
from workers.sandbox import Sandboxes
from workers.spec import SandboxSpec
from workers.sweeper import Sweeper
from workers.tasks import STOPPED, Attempts, Worker, register
from workers.upkeep import Upkeep
from workers.workspace import Workspaces

STACK = "trixie"

_BEAT_SECONDS = 1.0
_NODE_TTL_SECONDS = 10.0
_SWEEP_SECONDS = 1.0
_CLEAN_SECONDS = 10.0


def run(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT. Raises SetupError or a FarmError where it cannot start."""
    log = logger(node=settings.node_id)
    with ExitStack() as resources:
        resources.enter_context(_alone(settings))
        farm = resources.enter_context(open_farm(settings))
        client = open_engine(settings.docker_url)
        resources.callback(client.close)
        farm.records.queued_count()  # fails here, with one sentence, where Redis cannot be reached
        metrics = Metrics(tenants=settings.metrics_tenants)
        resources.enter_context(serve_metrics(metrics.registry, settings.metrics_host, settings.metrics_port))
        farm.registry.observe(metrics.registry_answered)
        tracer = open_tracer(settings, "buildfarm-node")
        resources.callback(tracer.close)
        attempts = Attempts(metrics)
        started = time.monotonic()
        tools = make_tools(settings, farm, client, metrics)
        metrics.prewarm_seconds.set(time.monotonic() - started)
        metrics.builder_ready.set(1)
        log.info("prewarmed", builder=tools.builder.image)
        janitor = Janitor(client, settings.node_id, tools.workspaces, attempts.names, log)
        janitor.clean()
        isolation = make_isolation(settings, tools.sandboxes, tools.workspaces, tools.builder.image, log)
        isolation.prove()
        health = Health(settings, client, janitor, attempts, metrics, tools.builder.digest, Nodes(farm.database))
        leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max)
        upkeep = Upkeep(log, lambda job: metrics.upkeep_failures.labels(job).inc())
        queues = queue_names(settings.classes, settings.shards)
        sweeper = Sweeper(farm.records, leases, queues, settings.resend_seconds, metrics, log)
        upkeep.every(_BEAT_SECONDS, health.beat, "beat")
        upkeep.every(_SWEEP_SECONDS, sweeper.sweep, "sweep")
        upkeep.every(_CLEAN_SECONDS, janitor.clean, "clean")
        upkeep.every(_CLEAN_SECONDS, isolation.keep, "network_rules")
        worker = Worker(settings, tools, farm.records, leases, farm.log_streams, attempts, metrics, tracer)
        register(farm.celery, worker)
        entry.register(farm.celery, farm)
        try:
            _consume(settings, farm, health, attempts, log)
        finally:
            # The beat ends first, so that it cannot write the node back after it left.
            upkeep.close()
            health.leave()
        log.info("stopped")


def make_tools(settings: Settings, farm: Farm, client: docker.DockerClient, metrics: Metrics) -> Tools:
    """What this node builds with; the builder is pulled here. Raises NodeError and RegistryError."""
    workspaces = Workspaces(
        settings.workspace_directory / settings.node_id,
        settings.workspace_bytes,
        settings.workspace_inodes,
        settings.user_namespace_offset,
    )
    return Tools(
        node_id=settings.node_id,
        stack=STACK,
        compile_network=settings.compile_network,
        source_limits=SourceLimits(settings.source_bytes, settings.workspace_bytes, settings.workspace_inodes),
        builder=prewarm(client, farm.registry, settings.builder),
        registry=farm.registry,
        workspaces=workspaces,
        sandboxes=Sandboxes(client, _sandbox_spec(settings, client), settings.silence_seconds),
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
    )


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
            options = {"com.docker.network.bridge.enable_icc": "false"}
            client.networks.create(name, driver="bridge", options=options, check_duplicate=True)
    return name


@dataclass
class Health:
    """Whether this node is fit for builds, and its heartbeat that says so."""

    settings: Settings
    client: docker.DockerClient
    janitor: Janitor
    attempts: Attempts
    metrics: Metrics
    builder: str
    nodes: Nodes
    reason: str = "it is starting"  # why no build may come; empty where one may
    draining: bool = False

    def accepting(self) -> bool:
        """Asked by the gate; answers at once."""
        return not self.reason

    def beat(self) -> None:
        """Looks at the node and tells the farm. Raises StoreError."""
        self.reason = self._look()
        self.metrics.accepting.set(not self.reason)
        self.metrics.slots.set(self.settings.slots)
        self.metrics.disk(self.settings.workspace_directory)
        node = Node(
            id=self.settings.node_id,
            builder=self.builder,
            slots=self.settings.slots,
            busy=len(self.attempts.names()),
            accepting=not self.reason,
            reason=self.reason,
            seen_at=time.time(),
        )
        self.nodes.beat(node, _NODE_TTL_SECONDS)

    def leave(self) -> None:
        """The node is gone in good order."""
        try:
            self.nodes.leave(self.settings.node_id)
        except BuildfarmError as error:
            logger().warning("node_not_removed", reason=error.message)

    def _look(self) -> str:
        if self.draining:
            return "it is draining"
        if self.janitor.free_bytes() < self.settings.disk_free_bytes:
            return "its disk is full"
        try:
            with engine_failures("answer"):
                self.client.ping()
        except NodeError:
            return "its Docker engine does not answer"
        return ""


def _consume(settings: Settings, farm: Farm, health: Health, attempts: Attempts, log: Logger) -> None:
    """Runs Celery's worker until a signal ends it; it returns when the running builds have ended."""
    queues = queue_names(settings.served_classes, settings.shards)
    farm.celery.steps["consumer"].add(make_gate(health.accepting, queues))

    def drain(**_: object) -> None:
        health.draining = True
        log.info("draining", builds=len(attempts.names()))
        timer = threading.Timer(settings.drain_seconds, attempts.stop_all, args=(STOPPED,))
        timer.daemon = True
        timer.start()

    def keep_our_logging(**_: object) -> None:
        """Celery sets logging up by itself unless somebody listens to this signal."""

    signals.worker_shutting_down.connect(drain, weak=False)
    signals.setup_logging.connect(keep_our_logging, weak=False)
    try:
        worker = farm.celery.Worker(
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
        signals.worker_shutting_down.disconnect(drain)
        signals.setup_logging.disconnect(keep_our_logging)


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
