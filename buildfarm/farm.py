"""Farm: everything that a user of the farm can do. Most programs import nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from buildfarm import source
from buildfarm.errors import StoreError
from buildfarm.model import ArtifactSource, Build, LogLine, Node, Request, State
from buildfarm.oci.registry import Registry
from buildfarm.queues import make_celery, send, shard_of
from buildfarm.settings import Settings
from buildfarm.store import Database, Logs, Nodes, Records, open_database
from buildfarm.telemetry import logger

_LOG_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Farm:
    """The farm as its users see it. Every method raises StoreError where Redis cannot be reached."""

    settings: Settings
    database: Database
    registry: Registry
    celery: Celery
    records: Records
    log_streams: Logs

    def pack(self, directory: Path, tenant: str) -> tuple[ArtifactSource, int]:
        """A directory as a source in the registry, and the bytes sent for it.

        Raises SourceError, TooLargeError and RegistryError.
        """
        return source.pack(self.registry, directory, tenant, self.settings.source_bytes)

    def submit(self, request: Request) -> Build:
        """Accepts a build: once this returns, it will be built or its failure told, whatever dies meanwhile."""
        build_id = secrets.token_hex(8)
        queue = shard_of(request.tenant, self.settings.shards)
        self.records.submit(build_id, request, queue)
        try:
            send(self.celery, [build_id], queue)
        except StoreError:
            # The record is written, so the build is accepted; a node's sweeper sends the message again.
            logger().warning("message_not_sent", build=build_id)
        return self.records.get(build_id)

    def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError."""
        return self.records.get(build_id)

    def recent(self, limit: int = 20, *, tenant: str | None = None, app: str | None = None) -> list[Build]:
        """The newest builds first; of one app where both names are given."""
        return self.records.recent(limit, tenant=tenant, app=app)

    def logs(self, build_id: str, *, follow: bool = False, after: str = "0") -> Iterator[LogLine]:
        """The build's log; with ``follow`` until the build has ended. Raises NotFoundError."""
        build = self.records.get(build_id)
        while True:
            wait_seconds = _LOG_WAIT_SECONDS if follow and not build.state.final else 0
            lines = self.log_streams.read(build_id, after, wait_seconds=wait_seconds)
            yield from lines
            if lines:
                after = lines[-1].position
            elif not follow or build.state.final:
                return
            # Read after the lines were: a build that has ended writes none any more, so the next look is the last.
            build = self.records.get(build_id) if follow and not build.state.final else build

    def follow(self, build_id: str) -> Iterator[Build | LogLine]:
        """The build whenever it has changed, and its log's lines as they come; the last item is the ended build."""
        after, seen = "0", None
        while True:
            build = self.records.get(build_id)
            if build != seen and not build.state.final:
                yield build
                seen = build
            wait_seconds = 0 if build.state.final else _LOG_WAIT_SECONDS
            while lines := self.log_streams.read(build_id, after, wait_seconds=wait_seconds):
                after, wait_seconds = lines[-1].position, 0
                yield from lines
            if build.state.final:
                yield build
                return

    def cancel(self, build_id: str) -> State:
        """Ends a build, a running one within seconds; returns the state it was found in. Raises NotFoundError."""
        return self.records.cancel(build_id)

    def nodes(self) -> list[Node]:
        """The build nodes that are alive."""
        return Nodes(self.database).all()

    def image(self, build: Build) -> str:
        """The reference under which this process reaches the build's image. Raises ValueError where it has none."""
        if build.result is None:
            raise ValueError(f"build {build.id} has no image")
        return f"{self.registry.host}/{build.result.repository}@{build.result.digest}"


@contextmanager
def open_farm(settings: Settings) -> Iterator[Farm]:
    """A farm of these settings. Connects at the first use, and gives the connections back at the end."""
    database = open_database(settings)
    registry = Registry(
        settings.registry_url, timeout_seconds=settings.registry_timeout_seconds, attempts=settings.registry_attempts
    )
    celery = make_celery(settings)
    try:
        yield Farm(
            settings=settings,
            database=database,
            registry=registry,
            celery=celery,
            records=Records(database, settings.record_seconds),
            log_streams=Logs(database, settings.log_bytes),
        )
    finally:
        celery.close()
        registry.close()
        database.close()
