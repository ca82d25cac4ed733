"""The local farm as a whole: up, down, and what of it runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import docker

from buildfarm.errors import SetupError
from buildfarm.oci.registry import Registry
from buildfarm.recipes.folder import recipes_folder
from buildfarm.releases.base import STABLE
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.settings import Settings, read_settings
from buildfarm.store import open_database
from buildfarm.telemetry import logger
from localfarm import api, images, leftovers, network, services, worker
from localfarm.beginnings import Say, ensure_channel, ensure_sent, send_beginnings
from localfarm.engine import connect, find_engine, wanted_url
from localfarm.packages import ensure_packages
from localfarm.services import downloads
from localfarm.slim import Maker
from localfarm.state import (
    LocalState,
    forget,
    locked,
    make_directory,
    read_state,
    secret_file,
    write_state,
)
from localfarm.waiting import run_side_by_side
from localfarm.worker import signer
from workers.caches import remove_snapshots
from workers.sandbox.workspace import Workspaces
from workers.upkeep.janitor import Janitor
from workers.wiring import snapshot_directory, step_images

BUILDER_REPOSITORY = "builder"
NOW_SECONDS = 2.0
# Programs that a build node calls.
PROGRAMS = {"tar": "tar", "mkfs.ext4": "e2fsprogs", "mount": "mount", "iptables": "iptables"}


@dataclass(frozen=True)
class Part:
    """A part of the farm, and whether it is as it should be."""

    name: str
    up: bool
    detail: str


@dataclass(frozen=True)
class Wanted:
    """What `up` was asked for; None: as it is."""

    node: bool = True
    downloads: bool | None = None
    redis_port: int | None = None
    registry_port: int | None = None


def up(directory: Path, wanted: Wanted, *, say: Say) -> LocalState:
    """Makes everything run that does not; what runs as it should is not touched. Raises SetupError."""
    recipes_folder()  # before anything is touched
    make_directory(directory)
    with locked(directory):
        old = read_state(directory)
        # A node that runs stays part of the farm, though this run would do without one: it follows a new builder.
        node = wanted.node or worker.running_worker(directory) is not None
        password_file = secret_file(directory, "redis-password")
        state = old or LocalState(redis_password=password_file.read_text())
        state = replace(
            state,
            farm_key=secret_file(directory, "farm-key").read_text(),
            redis_port=wanted.redis_port or state.redis_port,
            registry_port=wanted.registry_port or state.registry_port,
            docker_url=wanted_url(),
            # Without a node there is no image to sign.
            signing=node and signer.is_wanted(),
            worker=node,
        )
        client = find_engine(state.docker_url, directory, say)
        services.check_ports(client, state)
        settings = read_settings()
        services_network = network.ensure_services(client, say)
        ensure_packages(PROGRAMS, say)
        # Another base is the builder's; all else stands on Debian, whose packages the small images are made of.
        debian = images.ensure_base(client, state.docker_url, "", say)
        base = images.ensure_base(client, state.docker_url, settings.base, say) if settings.base else debian
        cached = bool(state.downloads_url) if wanted.downloads is None else wanted.downloads
        (builder,), (imager, redis, storage, *downloading) = run_side_by_side(
            [
                lambda: [images.ensure_image(client, images.BUILDER, base, ca_bundle=settings.ca_bundle, say=say)],
                lambda: _service_images(client, cached, debian, directory, say),
            ]
        )
        # Processes start with what is written: signing changes once those of before have ended.
        write_state(directory, kept := replace(state, signing=old.signing if old else False))
        both = services.redis_service(redis, state, password_file), services.registry_service(storage, state)
        for service in both:
            services.ensure_service(client, services_network, service, say)
        services.wait_for_services(client, state)
        # Its name depends on where Redis is, which is known to other processes from here on.
        network.ensure_builds(client, read_settings().sandbox_network, say)
        cache = downloads.described(client, downloading[0], read_settings()) if downloading else None
        state = replace(state, downloads_url=downloads.url_of(cache) if cache else "")
        with Registry(f"http://{state.registry_address}") as registry:
            state = replace(state, builder=ensure_sent(client, registry, builder, BUILDER_REPOSITORY, say))
            kept = replace(kept, builder=state.builder)
            new = old is None or old.builder != state.builder
            ensure_channel(registry, state.builder, lambda: _promoted(read_settings()), new=new)
            send_beginnings(client, registry, debian, imager, say)
        used = {debian, base, builder, imager, redis, storage, *downloading}
        if removed := leftovers.remove_old(client, images.NAME, used):
            say(f"engine: removed {len(removed)} images of earlier recipes")
        write_state(directory, kept)
        if old is not None and old.builder not in ("", state.builder):
            say("builder: promoting it, its recipe changed")
            _promote(read_settings(), old.builder, state.builder)
        _ensure_downloads(client, directory, old.downloads_url if old else "", cache, say)
        _ensure_parts(client, directory, old, state, say)
        return state


def down(directory: Path, *, purge: bool, now: bool, say: Say) -> list[str]:
    """Stops everything; with ``purge`` also deletes its data. Returns what was removed. Raises SetupError."""
    state = read_state(directory)
    if state is None:
        return []
    with locked(directory):
        settings = read_settings()
        gone = []
        say("node: draining" if not now else "node: stopping")
        if worker.stop_worker(directory, NOW_SECONDS if now else settings.drain_seconds):
            gone.append("node")
        if not now:
            signer.wait_for_requests(directory, settings, say)
        if signer.stop_signer(directory):
            gone.append("signer")
        if api.stop_api(directory):
            gone.append("api")
        client = connect(state.docker_url)
        if client is None:
            raise SetupError(
                f"The Docker engine at {state.docker_url} cannot be reached, so its containers cannot be removed.",
                advice="Start it and run `buildfarm down` again.",
            )
        clean_up(client, settings)
        gone += services.remove_services(client, data=purge)
        gone += network.remove_networks(client, settings.sandbox_network)
        if purge:
            gone += images.remove_images(client)
            shutil.rmtree(settings.cache_directory, ignore_errors=True)
            shutil.rmtree(settings.tool_directory, ignore_errors=True)
            forget(directory)
        return gone


def status(directory: Path) -> list[Part]:
    """Every part of the farm, whether it runs or not."""
    state = read_state(directory)
    if state is None:
        return [Part("farm", False, "it was never up here; run `buildfarm up`")]
    settings = read_settings()
    client = connect(state.docker_url)
    parts = [
        Part("engine", client is not None, state.docker_url),
        Part("redis", services.redis_answers(state), state.redis_address),
        Part("registry", services.registry_answers(state), state.registry_address),
        Part("builder", bool(state.builder), state.builder or "it was never pushed"),
    ]
    if state.downloads_url:
        parts.append(Part("downloads", downloads.answers(state.downloads_url), state.downloads_url))
    if state.worker:
        parts.append(_node_part(directory, settings))
        running = signer.running_signer(directory) is not None
        if state.signing or running:  # it runs on after signing was turned off, for the builds that wait
            parts.append(Part("signer", running, f"its log is {directory / signer.LOG_FILE}"))
        there = api.running_api(directory) is not None and api.answers(settings)
        parts.append(Part("api", there, api.address(settings) if there else f"its log is {directory / api.LOG_FILE}"))
    return parts


def registry_folder(directory: Path) -> Path | None:
    """The files of the registry that this process's settings name; None if it is not the local farm's."""
    state, settings = read_state(directory), read_settings()
    if state is None or settings.registry_url != state.variables()["BUILDFARM_REGISTRY_URL"]:
        return None
    client = connect(state.docker_url)
    return None if client is None else services.registry_folder(client)


def _node_part(directory: Path, settings: Settings) -> Part:
    process, node = worker.running_worker(directory), worker.find_node(settings)
    if process is None:
        return Part("node", False, f"no process; its log is {directory / worker.LOG_FILE}")
    if node is None:
        return Part("node", False, f"process {process.pid} sends no heartbeat")
    if not node.accepting:
        return Part("node", False, f"{node.id} takes no builds: {node.reason}")
    return Part("node", True, f"{node.id}, {node.busy} of {node.slots} slots busy, process {process.pid}")


def _service_images(client: docker.DockerClient, cached: bool, debian: str, directory: Path, say: Say) -> list[str]:
    """The imager, and what it makes: Redis and the registry, which must be there before the farm is, and the cache."""
    imager = images.ensure_image(client, images.IMAGER, debian, say=say)
    maker = Maker(client, read_settings(), network.SERVICES, directory / "images", imager)
    recipes = [images.REDIS, images.REGISTRY, *([images.DOWNLOADS] if cached else [])]
    return [imager, *(images.ensure_slim(maker, recipe, say) for recipe in recipes)]


def _ensure_downloads(
    client: docker.DockerClient, directory: Path, before: str, cache: services.Service | None, say: Say
) -> None:
    """The cache of packages runs as described, or none does. Builds that use the one ``before`` (a URL) end first."""
    is_other = before != (downloads.url_of(cache) if cache else "")
    if (is_other or downloads.ends(client, cache)) and worker.running_worker(directory):
        say("node: draining, since the cache of packages is turned on or off, or made anew")
        worker.stop_worker(directory, read_settings().drain_seconds)
    if cache is None:
        downloads.remove(client)
    else:
        downloads.ensure(client, cache, say)


def _promote(settings: Settings, before: str, builder: str) -> None:
    database = open_database(settings)
    try:
        KnownBases(database).add(before)  # chosen by the `up` before: its images can be rolled back to
        Pointers(database).set(STABLE, builder, actor="buildfarm up", reason="this checkout's builder")
    finally:
        database.close()


def _promoted(settings: Settings) -> str:
    database = open_database(settings)
    try:
        return Pointers(database).get(STABLE) or settings.builder
    finally:
        database.close()


def _ensure_parts(
    client: docker.DockerClient, directory: Path, old: LocalState | None, state: LocalState, say: Say
) -> None:
    """The processes: the signer before the node, and what does not know of a change of signing yet starts anew."""
    if not state.worker:
        write_state(directory, state)
        return
    if old is not None and old.signing != state.signing:
        if worker.running_worker(directory):
            say("node: draining, since signing was turned on or off")
            worker.stop_worker(directory, read_settings().drain_seconds)
        api.stop_api(directory)
        if state.signing:  # what was published meanwhile has no signature: it is taken over too
            signer.take_over_again(read_settings())
    write_state(directory, state)
    moved = old is None or old.variables() != state.variables()
    if not state.signing and signer.running_signer(directory) is None and signer.waiting(read_settings()):
        say("signer: starting, since builds wait for it; it runs until `buildfarm down`")
        signer.start_signer(directory, read_settings())
    if state.signing and (moved or signer.running_signer(directory) is None):
        say("signer: starting; images are signed before their tags move")
        signer.stop_signer(directory)
        signer.start_signer(directory, read_settings())
    _ensure_worker(client, directory, say)
    _ensure_api(directory, moved=moved, say=say)


def _ensure_worker(client: docker.DockerClient, directory: Path, say: Say) -> None:
    """A node runs and takes builds on the farm's newest builder."""
    settings = read_settings()
    node = worker.find_node(settings)
    if worker.running_worker(directory) is not None:
        if node is not None and node.accepting and _promoted(settings).endswith(node.builder):
            return
        say("node: draining, to start it anew")
        worker.stop_worker(directory, settings.drain_seconds)
    say("node: starting; its engine pulls the builder if it is missing")
    worker.start_worker(directory, settings, services.registry_files(client))


def _ensure_api(directory: Path, *, moved: bool, say: Say) -> None:
    settings = read_settings()
    if api.running_api(directory) is not None:
        if not moved and api.answers(settings) and (not settings.git_push or api.takes_pushes(settings)):
            return
        api.stop_api(directory)
    say(f"api: starting on {api.address(settings)}; `buildfarm tokens make` makes a token for it")
    api.start_api(directory, settings)


def clean_up(client: docker.DockerClient, settings: Settings) -> None:
    """Removes what a killed node could not. Raises NodeError."""
    workspaces = Workspaces(
        settings.workspace_directory / settings.node_id, settings.workspace_bytes, settings.workspace_inodes
    )
    Janitor(client, settings.node_id, workspaces, set, logger(), step_images(settings, client)).clean()
    remove_snapshots(snapshot_directory(settings))
