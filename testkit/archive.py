"""Builds that end without a node, to be archived: real records and logs, and no image."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from buildfarm.api.collector import archive
from buildfarm.farm import Farm
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.input_digest import input_digest
from buildfarm.model import BuildRequest, BuildResult, Failure, Fault, Phase, RunPolicy, State
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases, LogBounds, Logs
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.shelf import Shelf, repository_of
from buildfarm.telemetry import logger

SOURCE = ArtifactSource(repository="sources/t", digest=Digest("sha256:" + "a" * 64))
BUILDER = "sha256:" + "b" * 64
FAILURE = Failure(code="app.compile", fault=Fault.APP, phase=Phase.COMPILE, message="it fails", log_tail=("it fails",))


class Life:
    """A farm whose builds end as soon as they are asked for, and go to the archive when a test wants it.

    Of archived builds, the newest ``kept`` stay in the list of all builds and ``tenant_kept`` in their tenant's.
    """

    def __init__(self, farm: Farm, *, kept: int = 0, tenant_kept: int = 0) -> None:
        self.farm = farm
        self.catalog = replace(farm.history.catalog, kept=kept, tenant_kept=tenant_kept)
        self.tenant = farm.settings.namespace.strip(":")
        self.leases = Leases(farm.admission, 60, 3)
        self.logs = Logs(farm.database, 50_000_000, LogBounds())
        self.archivist = self.keeper()

    def keeper(self, *, kept: float = 1e6, patience: float = 1000) -> Archivist:
        """An archivist that waits for nothing but logs that are still on their nodes."""
        return Archivist(self.catalog, self.logs, self.farm.registry, 0, patience, kept, logger())

    def begin(self, app: str = "a", lines: int = 3, **fields: Any) -> Lease:
        """A build that runs and has printed so many lines."""
        request = BuildRequest(tenant=self.tenant, app=app, source=SOURCE, run_policy=RunPolicy.ALL, **fields)
        lease = self.leases.claim(self.farm.submit(request).id, "node")
        assert isinstance(lease, Lease), lease
        if lines:
            text = [f"line {number} of {lease.build_id}" for number in range(lines)]
            self.logs.append(lease, Phase.COMPILE, text, 1)
        return lease

    def end(self, app: str = "a", lines: int = 3, *, failed: bool = False, **fields: Any) -> str:
        """A build that has ended."""
        lease = self.begin(app, lines, **fields)
        if failed:
            self.leases.fail(lease, FAILURE)
        else:
            request = self.farm.get(lease.build_id).request
            digest = input_digest(request, BUILDER, self.farm.settings)
            self.leases.succeed(lease, self.result(app), input_digest=digest)
        return lease.build_id

    def result(self, app: str) -> BuildResult:
        """An image that is nowhere."""
        return BuildResult(
            repository=f"apps/{self.tenant}/{app}", digest=Digest.of(secrets.token_bytes(8)), tag="latest", layers=(),
            uploaded_bytes=1, phase_seconds={Phase.COMPILE: 1.0}, node="node", attempt=1,
        )  # fmt: skip

    def archive(self) -> int:
        """Everything that has ended goes to the archive; returns how many builds."""
        total = 0
        while True:
            total += sum(self.archivist.archive(place) for place in self.archivist.due())
            if self.archivist.looked_at_all:
                return total

    def shelf(self, app: str = "a") -> Shelf:
        """The packs of an app."""
        return Shelf(self.farm.registry, repository_of(f"{self.tenant}/{app}"))

    def keys(self, pattern: str) -> list[str]:
        """Keys of this farm in Redis."""
        return sorted(self.farm.database.client.scan_iter(self.farm.database.key(pattern)))

    def history(self, limit: int = 50, app: str = "a", states: frozenset[State] = frozenset()) -> list[str]:
        """An app's builds over all pages."""
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            builds, after = self.farm.page(limit, tenant=self.tenant, app=app, after=after, states=states)
            found += [build.id for build in builds]
        return found


def used_digests(farm: Farm) -> set[str]:
    """What a collection keeps because something outside of the registry names it."""
    return set(FarmGarbage(farm.history, farm.settings, (farm.builder(),)).used())


def stands(life: Life, *, look: bool = True) -> dict[str, float]:
    """What the API's metrics say of the archive after a turn of the archivist, without their common prefix."""
    if look:
        life.archivist.patrol.count()
        life.archivist.patrol.look(100)
    return {metric.name.removeprefix("buildfarm_archive_"): metric.samples[0].value for metric in archive(life.farm)}
