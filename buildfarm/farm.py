"""Farm: everything that a user of the farm can do. Most programs import nothing else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.buildpacks.address import ArtifactBuildpack, Buildpack
from buildfarm.errors import ConflictError, QueueFullError, RegistryError, RequestError, UnconfirmedError
from buildfarm.events import LogLine, LogNow
from buildfarm.gc.keeping import Keeping
from buildfarm.model import IMAGES, RESERVED, Build, BuildRequest, Request, State
from buildfarm.oci.reference import host_of
from buildfarm.queue.messages import message_template
from buildfarm.queue.names import TASK, kind_of, shard_of, size_of
from buildfarm.queue.view import QueuePosition, QueueView
from buildfarm.releases.apps import Apps
from buildfarm.seal import Seal
from buildfarm.settings import Settings
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import (
    Admission,
    AdmissionPolicy,
    CachedResult,
    Events,
    Full,
    LogBounds,
    Logs,
    OnlyIf,
    Records,
    open_database,
)
from buildfarm.store.archive import LOG_WAIT_SECONDS, History
from buildfarm.telemetry import logger

if TYPE_CHECKING:
    from buildfarm import input_digest as inputs
    from buildfarm.buildpacks import pin as pins
    from buildfarm.gc import rollback as rollbacks
    from buildfarm.gc import room as rooms
    from buildfarm.gc.retention import Rollback
    from buildfarm.oci import registry as registries
    from buildfarm.queue import why as whys
    from buildfarm.releases.signing import app_tags
    from buildfarm.sources import packing
    from buildfarm.store import buildpack_order as orders
else:  # most calls of most programs need only Redis, and of it the records
    inputs = LazyModule("buildfarm.input_digest")
    pins = LazyModule("buildfarm.buildpacks.pin")
    rollbacks = LazyModule("buildfarm.gc.rollback")
    rooms = LazyModule("buildfarm.gc.room")
    registries = LazyModule("buildfarm.oci.registry")
    whys = LazyModule("buildfarm.queue.why")
    app_tags = LazyModule("buildfarm.releases.signing.app_tags")
    packing = LazyModule("buildfarm.sources.packing")
    orders = LazyModule("buildfarm.store.buildpack_order")

_QUICK_SECONDS = 2.0
_EVENT_WAIT_SECONDS = 4.0  # less than the 5 s after which a connection to Redis counts as dead


@dataclass(frozen=True)
class Farm(Keeping, Apps):
    """The farm as its users see it. Every method raises StoreError where Redis cannot be reached."""

    events: Events
    log_streams: Logs
    patience_seconds: float
    resources: ExitStack  # closed with the farm

    @cached_property
    def registry(self) -> registries.Registry:
        """The farm's registry."""
        settings = self.settings
        return self._open_registry(settings.registry_timeout_seconds, settings.registry_attempts, self.patience_seconds)

    @cached_property
    def quick_registry(self) -> registries.Registry:
        """The same one for calls that others wait for: a single try with a short time limit."""
        return self._open_registry(_QUICK_SECONDS, 1)

    @cached_property
    def history(self) -> History:
        """All builds, those in the archive too."""
        return History(self.records, self.log_streams, lambda: self.quick_registry)

    def _open_registry(self, timeout_seconds: float, attempts: int, patience_seconds: float = 0) -> registries.Registry:
        opened = registries.Registry(
            self.settings.registry_url,
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            ca=self.settings.registry_ca,
            patience_seconds=patience_seconds,
        )
        opened.count_sent(rooms.SentBytes(self.room.usage).add)
        self.resources.callback(opened.close)
        return opened

    def pack(self, directory: Path, tenant: str, seen: packing.Seen | None = None) -> tuple[ArtifactSource, int]:
        """A directory as a source in the registry, and the bytes sent for it; ``seen`` gets the choice of its files.

        Raises SourceError, TooLargeError and RegistryError.
        """
        check = partial(self.room.check_upload, tenant)
        return packing.pack(self.registry, directory, tenant, self.settings.source_bytes, seen, before_sending=check)

    def take_source(self, tenant: str, pieces: Iterable[bytes]) -> tuple[ArtifactSource, int]:
        """A packed directory that comes in as a gzip-compressed tar archive, kept in the registry; and its size.

        Raises SourceError, TooLargeError and RegistryError.
        """
        self.room.check_upload(tenant)
        counted, limit_bytes = self.room.counted(tenant, pieces), self.settings.source_bytes
        return packing.take(
            self.registry, counted, tenant, limit_bytes, lambda size: self.room.usage.add(tenant, "sources", -size)
        )

    def has_source(self, packed: ArtifactSource) -> bool:
        """Whether the registry has this source. Raises RegistryError."""
        return self.quick_registry.has_manifest(packed.repository, packed.digest)

    def submit(self, request: Request, *, build_id: str | None = None) -> Build:
        """Accepts a build: once this returns, it will be built or its failure told, whatever dies meanwhile.

        It may have ended already, where an equal input was built before. A ``build_id`` of the caller's own makes a
        second call give back the same build. Raises RequestError, QueueFullError, ConflictError, and UnconfirmedError
        if too few replicas of Redis have it.
        """
        return self.submit_if(None, request, build_id)

    def submit_if(self, only_if: OnlyIf | None, request: Request, build_id: str | None) -> Build:
        """As `submit`, for rebuilds; raises ConflictError if what ``only_if`` names has changed."""
        if isinstance(request, BuildRequest) and request.tenant == IMAGES:
            raise RequestError(RESERVED, advice="Choose another name for the tenant.")
        self.room.check_submit(request, build_id)
        asked = self._pinned(request)
        request = self.sizes.given(asked, lambda: self.room.accepted(asked, build_id))
        build_class = request.build_class or next(iter(self.settings.classes))
        if build_class not in self.settings.classes:
            known = ", ".join(self.settings.classes)
            raise RequestError(f"There is no class {build_class} of builds.", advice=f"The classes are: {known}.")
        kind = kind_of(build_class, size_of(request))
        queue = shard_of(request.tenant, kind, self.settings.shards)
        has_variables = self.build_variables.has_some(request.tenant, request.app)
        cached = self._cached_result(request)
        build_id = build_id or secrets.token_hex(8)
        private = self._credentials_for(request)
        accepted = self.records.submit(
            build_id, request, queue, cached, has_variables=has_variables, private=private, asked=asked, only_if=only_if
        )
        if isinstance(accepted, Full):
            raise self._full(request.tenant, kind, accepted)
        if not self.records.is_of(accepted, asked):
            raise ConflictError(
                "This idempotency key was already used for another request.",
                advice=f"It made build {accepted.build_id}; use a new key for another request.",
            )
        if not accepted.confirmed:
            raise self._unconfirmed(accepted.build_id)
        build = accepted.build or self.history.get(accepted.build_id)
        if cached and build.result_of:
            self._move_tag(build)
        return build

    def buildpacks(self) -> tuple[str, ...]:
        """The farm's order of buildpacks; empty if it is the builder's own. See `buildfarm.buildpacks.address`."""
        return orders.BuildpackOrder(self.database).get()

    def order_buildpacks(self, buildpacks: Sequence[str]) -> None:
        """Apps that name no buildpack are built by the first of these that takes them, from the next submit on."""
        orders.BuildpackOrder(self.database).put([str(self.pin(name)) for name in buildpacks])

    def pin(self, buildpack: str) -> Buildpack:
        """The buildpack of this name or address with its digest as it is now; asked for from here.

        Raises RequestError and RegistryError.
        """
        return pins.pin(buildpack, self.registry)

    def pack_buildpack(self, directory: Path) -> Buildpack:
        """A folder's buildpack in the registry. Raises SourceError, TooLargeError, RequestError and RegistryError."""
        repository = pins.artifact_repository(directory)
        digest, _ = packing.pack_into(
            self.registry, directory, repository, pins.ARTIFACT_TYPE, self.settings.source_bytes
        )
        return ArtifactBuildpack(repository, str(digest))

    def get(self, build_id: str) -> Build:
        """The build as it is now, or was when it was archived. Raises NotFoundError, and RegistryError as all below."""
        return self.history.get(build_id)

    def recent(
        self, limit: int = 20, *, tenant: str | None = None, app: str | None = None, lost: list[str] | None = None
    ) -> list[Build]:
        """The newest builds first."""
        return self.history.recent(limit, tenant=tenant, app=app, lost=lost)

    def page(
        self,
        limit: int,
        *,
        tenant: str | None = None,
        app: str | None = None,
        states: Collection[State] = (),
        after: str = "",
        lost: list[str] | None = None,
    ) -> tuple[list[Build], str | None]:
        """A page of builds, the newest first, and where the next one begins: None at the end. See `History.page`."""
        return self.history.page(limit, tenant=tenant, app=app, states=states, after=after, lost=lost)

    def logs(self, build_id: str, *, follow: bool = False, after: str = "0") -> Iterator[LogLine]:
        """The build's log; with ``follow`` until the build has ended. Raises NotFoundError."""
        return self.history.logs(build_id, follow=follow, after=after)

    def log_tail(self, build_id: str, lines: int, *, after: str = "0") -> list[LogLine]:
        """The last lines of the build's log so far. Raises NotFoundError."""
        return self.history.log_tail(build_id, lines, after=after)

    def follow(self, build_id: str, *, now: bool = False) -> Iterator[Build | LogLine | LogNow]:
        """The build when it has changed, its log's lines, with ``now`` the unfinished one; at last the ended build."""
        after, seen, line = "0", None, LogNow(text="")
        while True:
            build = self.history.get(build_id)
            if build != seen and not build.state.final:
                yield build
                seen = build
            wait_seconds = 0 if build.state.final else LOG_WAIT_SECONDS
            whole = self.history.whole(build_id, after) if build.state.final else None
            yield from whole or ()
            while whole is None and (lines := self.log_streams.read(build_id, after, wait_seconds=wait_seconds)):
                after, wait_seconds = lines[-1].position, 0
                yield from lines
            if now and (found := LogNow(text=self.log_streams.now(build_id))) != line:
                yield (line := found)
            if build.state.final:
                yield build
                return

    def wait(self, build_id: str, *, timeout_seconds: float | None = None) -> Build:
        """Returns the build when it has ended, or as it is after ``timeout_seconds``. Raises NotFoundError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        # The position comes first: an end that comes after the look at the record is an event after it.
        position = self.events.last()
        build = self.history.get(build_id)
        while not build.state.final:
            left = _EVENT_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return build
            found = self.events.read(position, wait_seconds=min(left, _EVENT_WAIT_SECONDS))
            position = found[-1].position if found else position
            if not found or any(event.build == build_id for event in found):
                build = self.history.get(build_id)
        return build

    def queue_position(self, build: Build) -> QueuePosition | None:
        """Where a waiting build stands in the queue, and why it waits; None if it does not wait."""
        place = self.admission.queue_position(build)
        if place is None:
            return None
        cause, why = whys.why_waiting(build, self.admission.standing(build), self.nodes())
        return place.model_copy(update={"cause": cause, "why": why})

    def queue(self, tenants_max: int = 20) -> QueueView:
        """How the queue stands, by class and by tenant."""
        return self.admission.view(tenants_max)

    def cancel(self, build_id: str) -> State:
        """Ends a build, a running one within seconds; returns the state it was found in.

        Raises NotFoundError, and TooLateError once it publishes its image.
        """
        return self.history.cancel(build_id)

    def roll_back(self, build_id: str, *, seen: str = "") -> Rollback:
        """Points the app's tag at the image of an earlier build, until a newer one publishes its own.

        With ``seen``, only if it points to that digest now. Raises NotFoundError, ConflictError if it does not, and
        RequestError if the image is gone.
        """
        return rollbacks.ImagesBefore(self.history, lambda: self.quick_registry, self.settings.signs).restore(
            build_id, seen
        )

    def _cached_result(self, request: Request) -> CachedResult | None:
        """An equal build whose image the registry still has."""
        asked = getattr(request, "cached_result", False) and not getattr(request, "clean", False)
        if not asked or self._fetches_more(request):
            return None
        follows = self.app_bases.of(request.tenant, request.app)
        builder = follows.base.partition("@")[2]
        variables = self.build_variables.readable(request.tenant, request.app)
        if variables is None:
            return None
        digest = inputs.input_digest(request, builder, self.settings, follows.channel, variables)
        cached = self.history.cached_result(f"{request.tenant}/{request.app}", digest) if digest else None
        try:
            if cached and self.quick_registry.has_manifest(cached.result.repository, cached.result.digest):
                return cached
        except RegistryError as error:
            logger().warning("memo_not_checked", reason=error.message)
        return None

    def _move_tag(self, build: Build) -> None:
        """The tag follows, should it have been at another image meanwhile; if it cannot, a node moves it later."""
        if build.result is None:
            return
        try:
            app_tags.AppTags(self.quick_registry, self.records, self.settings.signs).move(build.request.target)
        except RegistryError as error:
            logger().warning("tag_not_moved", build=build.id, reason=error.message)

    def _unconfirmed(self, build_id: str) -> UnconfirmedError:
        error = UnconfirmedError(f"Build {build_id} was accepted, but too few replicas of Redis had it in time.")
        error.build_id = build_id
        return error

    def _full(self, tenant: str, kind: str, full: Full) -> QueueFullError:
        seconds = self.admission.retry_after_seconds(tenant, kind)
        return QueueFullError(
            f"{tenant} has {full.waiting} builds waiting; the limit is {full.limit}.",
            advice=f"Try again in {seconds:.0f} s, or cancel some of them.",
            retry_after_seconds=seconds,
        )

    def _pinned(self, request: Request) -> Request:
        """The farm's order of buildpacks as it is now belongs to the request, whatever it becomes before the build."""
        if isinstance(request, BuildRequest) and not request.buildpacks and not request.buildpack_order:
            return request.model_copy(update={"buildpack_order": self.buildpacks()})
        return request

    def image(self, build: Build) -> str:
        """The reference under which this process reaches the build's image. Raises ValueError if it has none."""
        if build.result is None:
            raise ValueError(f"build {build.id} has no image")
        return f"{host_of(self.settings.registry_url)}/{build.result.repository}@{build.result.digest}"


@contextmanager
def open_farm(settings: Settings, *, patience_seconds: float = 0) -> Iterator[Farm]:
    """Open a farm, which connects at its first use. A call waits ``patience_seconds`` for an unreachable registry."""
    seal = Seal(settings.farm_key.get_secret_value())
    seal.check()
    with ExitStack() as resources:
        database = open_database(settings)
        resources.callback(database.close)
        admission = Admission(database, AdmissionPolicy.of(settings, message_template(TASK)))
        yield Farm(
            settings=settings,
            database=database,
            admission=admission,
            records=Records(admission, seal),
            events=Events(database),
            log_streams=Logs(database, settings.log_bytes, LogBounds.of(settings)),
            patience_seconds=patience_seconds,
            resources=resources,
        )
