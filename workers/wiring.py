"""Makes a node's parts once, from the settings, and connects them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Set
from pathlib import Path

import docker

from buildfarm.errors import NodeError
from buildfarm.farm import Farm
from buildfarm.oci.memory import RememberedDocuments
from buildfarm.oci.registry import Registry
from buildfarm.queue.names import STANDARD
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.facts.components.image import ImageReader
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import WantedImages
from buildfarm.releases.rebase import Rebaser
from buildfarm.releases.rollouts.engine import Engine
from buildfarm.releases.rollouts.mover import Mover
from buildfarm.releases.rollouts.rebuilds.builds import CampaignBuilds
from buildfarm.releases.rollouts.rebuilds.campaign import Campaign
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.rollouts.watch import Watch
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.settings import Settings
from buildfarm.store import KnownLayers, Nodes, ScannedLayers
from buildfarm.telemetry import Logger, logger
from buildfarm.telemetry.metrics import Metrics
from workers.attempt.capacity import Capacity
from workers.attempt.memory import SandboxMemory
from workers.builder import Builder, Builders
from workers.buildpacks import PROFILES, BuildpackCache, BuildpackFetcher
from workers.caches import Caches, Copies, Snapshots
from workers.caches.facts.inspect import LAYER_SECONDS
from workers.caches.facts.newest import NewestImages
from workers.caches.facts.notes import ImageNotes
from workers.caches.facts.reader import FactsReader
from workers.engine import engine_failures
from workers.export.exporter import Exporter, unannounced
from workers.fetch import SourceLimits
from workers.fetch.downloads import Downloads
from workers.image_builds.pipeline import ImageTools
from workers.image_builds.smoke import SmokeTests
from workers.pipeline import AppTools
from workers.sandbox.container import Sandboxes, leave
from workers.sandbox.network import ensure_builds_network
from workers.sandbox.pauses.containers import PauseContainers
from workers.sandbox.pool import Makers, SandboxPool
from workers.sandbox.self_check import make_rules
from workers.sandbox.spec import SandboxSpec
from workers.sandbox.tools.store import ToolStore
from workers.sandbox.workspace import Workspaces
from workers.upkeep.builder_follower import Follower
from workers.upkeep.disk import Disk
from workers.upkeep.jobs import Duty
from workers.upkeep.pool_upkeep import ready_max, total_memory
from workers.upkeep.prewarm import Repair, prewarm
from workers.upkeep.spools import Spools
from workers.upkeep.step_images import StepImages

_RUNTIMES = ("runc", "crun", "youki")  # containers share the machine's kernel, and one can join another's network
_IDLE_SECONDS = 60  # beyond the longest build, for its end
# So much later another node goes on with rollouts after the death of the one that moved apps.
_ROLLOUTS_LEAD_SECONDS = 5.0
_FACTS_LEAD_SECONDS = LAYER_SECONDS + 90  # likewise with looking for new layers, which it does between two layers


def make_disk(
    settings: Settings, client: docker.DockerClient, tools: AppTools, named: Callable[[], Set[str]], log: Logger
) -> Disk:
    """The node's disk; the engine's part of it counts where this process sees it. Raises NodeError.

    ``named`` are the builders that stay, as repository@digest.
    """
    with engine_failures("report where its data is"):
        engine = Path(client.info()["DockerRootDir"])
    folders = [tools.workspaces.directory, settings.cache_directory]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)

    def forget_copies(wanted_bytes: int) -> int:
        """Copies of caches first: to unpack a tool again takes longer."""
        freed_bytes = tools.caches.forget(wanted_bytes)
        return freed_bytes + tools.fetcher.tools.forget(wanted_bytes - freed_bytes)

    return Disk(
        client=client,
        folders=[*folders, *([engine] if engine.is_dir() else [])],
        clean_bytes=settings.disk_clean_bytes,
        forget_caches=forget_copies,
        builders=lambda: {f"{tools.registry.host}/{base}" for base in named()},
        logger=log,
    )


def make_followed(
    farm: Farm, client: docker.DockerClient, tools: AppTools, metrics: Metrics, log: Logger
) -> tuple[Disk, Follower]:
    """The node's disk, and what keeps its builders there the ones that builds may stand on. Raises NodeError."""

    def named() -> Set[str]:
        return follower.named()

    disk = make_disk(farm.settings, client, tools, named, log)
    follower = Follower(
        tools.builders,
        lambda base: measured_prewarm(client, farm, base, metrics),
        log,
        AppBases(farm.database).moved,
        disk.has_room,
    )
    return disk, follower


def measured_prewarm(client: docker.DockerClient, farm: Farm, builder: str, metrics: Metrics) -> Builder:
    started = time.monotonic()
    warm = prewarm(client, farm.registry, builder)
    metrics.prewarm_seconds.set(time.monotonic() - started)
    return warm


def make_repair(settings: Settings, farm: Farm, client: docker.DockerClient, metrics: Metrics) -> Repair:
    """What brings back what the engine loses. Raises SetupError."""
    return Repair(client, farm.registry, make_rules(settings, client, metrics), logger(node=settings.node_id))


def make_tools(
    settings: Settings,
    farm: Farm,
    client: docker.DockerClient,
    metrics: Metrics,
    repair: Repair | None = None,
) -> AppTools:
    """What this node builds with; the builder is pulled here. Raises NodeError and RegistryError."""
    restore = repair.restore if repair else leave
    workspaces = Workspaces(
        settings.workspace_directory / settings.node_id,
        settings.workspace_bytes,
        settings.workspace_inodes,
        settings.user_namespace_offset,
    )
    tools = _open_tools(settings, farm)
    sandboxes = Sandboxes(client, _sandbox_spec(settings, client, tools.ready), settings.silence_seconds, restore)
    builder = measured_prewarm(client, farm, farm.builder(), metrics)
    builders = Builders(builder)
    pool = _open_pool(settings, workspaces, sandboxes)
    return AppTools(
        node_id=settings.node_id,
        compile_network=settings.compile_network,
        source_limits=SourceLimits(settings.source_bytes, settings.workspace_bytes, settings.workspace_inodes),
        builders=builders,
        registry=farm.registry,
        workspaces=workspaces,
        sandboxes=sandboxes,
        pool=pool,
        exporter=Exporter(
            registry=farm.registry,
            compression=settings.compression,
            threads=settings.compression_threads,
            media_types=settings.media_types,
            image_bytes=settings.image_bytes,
            layer_min_bytes=settings.layer_min_bytes,
            layers_max=settings.max_app_layers,
            known=KnownLayers(farm.database),
            scanned=ScannedLayers(farm.database, farm.records.seal),
            announce=SignRequests(farm.admission).announce if settings.signs else unannounced,
        ),
        caches=_open_caches(settings, farm, pool, builders, metrics),
        profile=PROFILES[settings.profile],
        downloads=Downloads(settings.downloads_url, repair.rules.opens) if repair else Downloads(),
        fetcher=BuildpackFetcher(
            farm.registry, BuildpackCache(settings.buildpack_directory, settings.buildpack_copies_bytes), tools
        ),
    )


def _open_pool(settings: Settings, workspaces: Workspaces, sandboxes: Sandboxes) -> SandboxPool:
    """The node's sandboxes. One of several sizes, or with a setting of its memory, counts that of all of them."""
    capacity = Capacity.of(settings)
    makers = {
        name: Makers(
            workspaces.limited(size.disk_bytes),
            sandboxes.sized(size.memory_bytes, min(size.cpus, os.cpu_count() or 1)),
            size.memory_bytes,
        )
        for name, size in capacity.sizes.items()
        if name != STANDARD
    }
    ready = ready_max(settings.warm_sandboxes, settings.slots, total_memory())
    return SandboxPool(
        workspaces,
        sandboxes,
        ready,
        makers,
        SandboxMemory(capacity.memory_bytes if capacity.is_counted else 0),
        settings.memory_bytes,
        tuple(capacity.sizes),
        pauses=PauseContainers(sandboxes.client, sandboxes.spec, ready) if _lends(settings, sandboxes.client) else None,
    )


def _lends(settings: Settings, client: docker.DockerClient) -> bool:
    """Whether sandboxes may join pause containers: if none is cut off, and all share this kernel and its users."""
    if not settings.compile_network or settings.sandbox_runtime or settings.user_namespace_offset:
        return False
    with engine_failures("say what it is"):
        return client.info().get("DefaultRuntime") in _RUNTIMES


def _open_caches(settings: Settings, farm: Farm, pool: SandboxPool, builders: Builders, metrics: Metrics) -> Caches:
    snapshots = Snapshots(
        pool,
        snapshot_directory(settings),
        settings.snapshot_bytes,
        lambda: builders.current.image,
        logger(node=settings.node_id),
    )
    metrics.snapshot_bytes.set_function(lambda: snapshots.size_bytes)
    return Caches(
        registry=farm.registry,
        copies=Copies(settings.cache_directory, settings.cache_copies_bytes),
        snapshots=snapshots,
        cache_bytes=settings.cache_bytes,
        threads=settings.compression_threads,
        logger=logger(node=settings.node_id),
        count=lambda result: metrics.cache_restores.labels(result).inc(),
    )


def make_image_tools(settings: Settings, client: docker.DockerClient, tools: AppTools) -> ImageTools:
    """What this node builds the farm's own images with, beside the apps and within the same limits."""
    return ImageTools(
        node_id=settings.node_id,
        builders=tools.builders,
        source_limits=tools.source_limits,
        registry=tools.registry,
        workspaces=tools.workspaces,
        sandboxes=tools.sandboxes,
        media_types=settings.media_types,
        threads=settings.compression_threads,
        imager=settings.imager,
        smokes=SmokeTests(client, settings.node_id, settings.memory_bytes, settings.pids_max),
        steps=step_images(settings, client),
    )


def snapshot_directory(settings: Settings) -> Path:
    """Where this node's snapshots are: on the file system of the workspaces."""
    return settings.workspace_directory / f"{settings.node_id}.snapshots"


def step_images(settings: Settings, client: docker.DockerClient) -> StepImages:
    """The notes of this node."""
    return StepImages(client, settings.workspace_directory / f"{settings.node_id}.steps")


def make_spools(settings: Settings, farm: Farm, registry: Registry, log: Logger, metrics: Metrics) -> Spools:
    """The folder of the logs of this node's attempts. Raises NodeError."""
    directory = settings.workspace_directory / f"{settings.node_id}.logs"
    spools = Spools(directory, settings.log_waiting_bytes, settings.node_id, farm.log_streams, registry, log)
    try:
        spools.open()
    except OSError as error:
        raise NodeError(f"{directory} cannot be made: {error.strerror}.") from error
    metrics.logs_waiting.set_function(lambda: len(spools.waiting()))
    metrics.logs_waiting_bytes.set_function(lambda: sum(spools.waiting()))
    return spools


def open_rollouts(farm: Farm, nodes: Nodes, log: Logger) -> Engine:
    """The engine of this node; it connects at its first turn."""
    # A plan looks at each app, and a wave moves it later: the documents are the same.
    remembered = RememberedDocuments(farm.registry)
    rebaser = Rebaser(farm.registry, farm.records, farm.facts, remembered, signing=farm.settings.signs)
    mover = Mover(rebaser, Rollouts(farm.database))
    reader = ImageReader(farm.registry, ComponentStore(farm.database), WantedImages(farm.database))
    campaign = Campaign(mover, CampaignBuilds(farm), reader)
    duty = Duty(nodes, farm.settings.node_id, "roller", _ROLLOUTS_LEAD_SECONDS)
    return Engine(mover, Watch(farm.database, mover, campaign), duty.is_mine, log)


def open_facts(
    farm: Farm, tools: AppTools, nodes: Nodes, builds: Callable[[], Collection[str]], metrics: Metrics
) -> FactsReader:
    """What reads layers on this node; ``builds`` are those that run here."""

    def bases() -> Set[str]:
        rollouts = [one for one in Rollouts(farm.database).all() if not one.phase.final]
        moving = {base for one in rollouts for base in (one.base, one.source)}
        known = {*Pointers(farm.database).all().values(), *AppBases(farm.database).moved(), farm.builder()}
        return (known | moving | notes.bases) - {""}

    store, components = FactsStore(farm.database), ComponentStore(farm.database)
    notes = ImageNotes(farm.registry, components)
    duty = Duty(nodes, farm.settings.node_id, "inspector", _FACTS_LEAD_SECONDS)
    newest = NewestImages(farm.registry, store, bases, duty.is_mine, notes)
    return FactsReader(
        tools.pool, farm.registry, store, lambda: tools.builders.current.image, newest, lambda: bool(builds()),
        tools.caches.snapshots.has_ended, logger(), farm.settings.layer_facts, metrics.layer_reading_stopped.set,
    )  # fmt: skip


def _open_tools(settings: Settings, farm: Farm) -> ToolStore:
    """The node's build tools. Raises NodeError."""
    directory = settings.tool_directory
    tools = ToolStore(farm.registry, directory, settings.tool_copies_bytes, settings.longest_seconds + _IDLE_SECONDS)
    try:
        tools.open()
    except OSError as error:
        raise NodeError(
            f"{directory} cannot be made: {error.strerror}.", advice="Set BUILDFARM_TOOL_DIRECTORY."
        ) from error
    return tools


def _sandbox_spec(settings: Settings, client: docker.DockerClient, tools: Path) -> SandboxSpec:
    with engine_failures("make the sandboxes' network"):
        network = ensure_builds_network(client, settings.sandbox_network)
    return SandboxSpec(
        node_id=settings.node_id,
        network=network,
        memory_bytes=settings.memory_bytes,
        cpus=min(settings.cpus, os.cpu_count() or 1),
        pids_max=settings.pids_max,
        files_max=settings.files_max,
        ca_bundle=settings.ca_bundle,
        runtime=settings.sandbox_runtime,
        user_namespace=settings.sandbox_user_namespace,
        tools=tools,
    )
