"""What a farm did before its copies were taken, and in the hour after that."""

from __future__ import annotations

import gzip
import io
import json
import secrets
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.access.audit import Audit, AuditEntry
from buildfarm.access.tokens import Scope, Tokens
from buildfarm.access.webhooks import Webhooks
from buildfarm.farm import Farm
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.result import Collected
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest, BuildResult, Phase, RunPolicy
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.releases.builder import PLATFORM, PLATFORM_LABEL
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease
from testkit.archive import Life

# Nothing stays because it is young, and of each app the newest image alone: what stays is named.
RULES = Rules(images=1, source_seconds=0, cache_seconds=0, grace_seconds=0)
USUAL = Rules(images=1, grace_seconds=0)
LINES = 200
HOOK = "https://hooks.example.com/builds"
DEPLOYS = 12


@dataclass(frozen=True)
class Made:
    """A build that succeeded, its image and its source."""

    id: str
    repository: str
    digest: str
    source: str
    log: tuple[str, ...]

    @property
    def image(self) -> str:
        """As orchestrators write it."""
        return f"{self.repository}@{self.digest}"


@dataclass
class Day:
    """What there is to survive, by when it was made."""

    apps: dict[str, list[Made]] = field(default_factory=dict)
    archived: list[Made] = field(default_factory=list)  # before the copies
    late_archived: list[Made] = field(default_factory=list)
    in_use: list[Made] = field(default_factory=list)
    old: Made | None = None  # runs, and nothing but its report names it
    queued: str = ""
    late_queued: str = ""
    running: Lease | None = None  # ended after the copies
    late_running: Lease | None = None
    token: str = ""
    late_token: str = ""
    revoked_late: str = ""
    builder: str = ""
    audit_head: str = ""
    late_audit_head: str = ""


class Maker:
    """Makes builds end with real images, and the rest of what a farm is asked to do."""

    def __init__(self, farm: Farm, storage: Path) -> None:
        self.farm = farm
        self.life = Life(farm)
        self.storage = Storage(storage)

    def build(self, app: str, *, tag: bool = True) -> Made:
        """A build from a source of its own to an image that its app's tag is at."""
        source = self.source()
        lease = self.claim(self.submit(app, source))
        return self.end(lease, app, source, tag=tag)

    def submit(self, app: str, source: ArtifactSource) -> str:
        """A build that waits."""
        request = BuildRequest(
            tenant=self.life.tenant, app=app, source=source, run_policy=RunPolicy.ALL, cached_result=False
        )
        return self.farm.submit(request).id

    def claim(self, build_id: str) -> Lease:
        """A node has begun it."""
        lease = self.life.leases.claim(build_id, "node")
        if not isinstance(lease, Lease):
            raise TypeError(f"{build_id} cannot be begun: {lease}")
        return lease

    def end(self, lease: Lease, app: str, source: ArtifactSource, *, tag: bool = True) -> Made:
        """It succeeds as on a node: log, image, decision, tag, record."""
        lines = [f"line {number} of {lease.build_id}" for number in range(LINES)]
        self.life.logs.append(lease, Phase.COMPILE, lines, 1)
        repository = f"apps/{self.life.tenant}/{app}"
        manifest, digest = self.push(repository, lease.build_id)
        result = BuildResult(
            repository=repository, digest=digest, tag="latest", layers=(), uploaded_bytes=1,
            phase_seconds={Phase.COMPILE: 1.0}, node="node", attempt=lease.attempt,
        )  # fmt: skip
        self.life.leases.publish(lease, repository, result)
        if tag:
            self.farm.registry.put_manifest(repository, manifest, media_types("oci").manifest, tag="latest")
        self.life.leases.succeed(lease, result)
        return Made(lease.build_id, repository, str(digest), str(source.digest), tuple(lines))

    def source(self) -> ArtifactSource:
        """A packed folder in the registry."""
        repository = f"sources/{self.life.tenant}"
        return ArtifactSource(repository=repository, digest=self.push(repository, secrets.token_hex(8))[1])

    def push(self, repository: str, text: str, **labels: str) -> tuple[bytes, Digest]:
        """An image without a tag that has this text in a file; returns its manifest too."""
        types, registry = media_types("oci"), self.farm.registry
        archive = _tar(text.encode() * 500)
        packed = gzip.compress(archive, mtime=0)
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Labels": labels, "Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(archive)]},
        }  # fmt: skip
        content = json.dumps(config).encode()
        manifest = Manifest(
            types.manifest,
            Descriptor(types.config, registry.put_blob(repository, content), len(content)),
            (Descriptor(types.layers["gzip"], registry.put_blob(repository, packed), len(packed)),),
        ).encode()
        return manifest, registry.put_manifest(repository, manifest, types.manifest, tag=None)

    def garbage(self) -> FarmGarbage:
        """What collects here."""
        return FarmGarbage(self.farm.history, self.farm.settings, (self.farm.builder(),))

    def collect(self, rules: Rules = RULES, *, adopt: bool = False) -> Collected:
        """A collection, by the narrowest rules unless others are given."""
        return self.garbage().collect(self.storage, rules, Budget(), adopt=adopt)

    def forgotten(self, app: str) -> Made:
        """An image that runs, without a tag, and whose record's time is over; a newer one of its app is there."""
        made = self.build(app, tag=False)
        self.life.archive()
        self.farm.report_in_use([made.image])
        self.collect(USUAL)  # from now on its source is remembered
        keeper = self.life.keeper(kept=0)
        keeper.remove_expired()
        keeper.tidy()
        self.build(app)
        self.life.archive()
        return made

    def audit(self, verb: str) -> str:
        """One more entry; returns the head."""
        return Audit(self.farm.database).add(AuditEntry("operator", "", "", verb, "object", "done"))


def before_the_copies(maker: Maker) -> Day:
    """Builds in every state, images in use, an archive, and what operators set."""
    day, life, farm = Day(), maker.life, maker.farm
    day.old = maker.forgotten("old")
    day.apps = {app: [maker.build(app) for _ in range(DEPLOYS)] for app in ("web", "api")}
    day.archived = [made for builds in day.apps.values() for made in builds]
    life.archive()
    day.in_use = [day.old, day.apps["web"][0], day.apps["web"][-1]]
    farm.report_in_use([made.image for made in day.in_use])
    day.queued = maker.submit("waits", maker.source())
    day.running = maker.claim(maker.submit("runs", maker.source()))
    day.token, _ = Tokens(farm.database).make(life.tenant, "ci", {Scope.SUBMIT}, 30)
    day.revoked_late, _ = Tokens(farm.database).make(life.tenant, "leaked", {Scope.SUBMIT}, 30)
    Webhooks(farm.database).put(life.tenant, HOOK, rotate=False)
    farm.set_limits(life.tenant, running=7)
    farm.set_retention(life.tenant, images=3)
    repository = f"builder-{life.tenant}"
    digest = maker.push(repository, "builder", **{PLATFORM_LABEL: PLATFORM})[1]
    day.builder = farm.promote_builder(f"{repository}@{digest}")
    for verb in ("limits.set", "builder.promote"):
        day.audit_head = maker.audit(verb)
    maker.collect(USUAL)
    return day


def the_hour_after(maker: Maker, day: Day) -> None:
    """Builds end and begin, tags move, packs are joined, an old image runs again, and the registry is collected."""
    life, farm = maker.life, maker.farm
    if day.running is None or day.old is None:
        raise RuntimeError("this is no day whose copies were taken")
    request = farm.get(day.running.build_id).request
    source = getattr(request, "source", None)
    if not isinstance(source, ArtifactSource):
        raise TypeError("the build that ran has no packed source")
    day.late_archived = [maker.end(day.running, "runs", source), maker.build("web"), maker.build("late")]
    life.archive()
    life.archivist.tidy()
    day.late_running = maker.claim(day.queued)
    day.late_queued = maker.submit("waits-too", maker.source())
    # A roll-back: an old image, which no tag and no report named when the copies were taken.
    day.in_use = [day.old, day.apps["web"][0], day.late_archived[1], day.apps["api"][0]]
    farm.report_in_use([made.image for made in day.in_use])
    tokens = Tokens(farm.database)
    day.late_token, _ = tokens.make(life.tenant, "late", {Scope.SUBMIT}, 30)
    tokens.revoke(day.revoked_late.split("_")[1])
    farm.set_limits(life.tenant, running=9)
    day.late_audit_head = maker.audit("limits.set")
    maker.push(f"apps/{life.tenant}/web", "garbage of the hour")
    maker.collect(USUAL)


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        item = tarfile.TarInfo("app/file")
        item.size = len(content)
        archive.addfile(item, io.BytesIO(content))
    return buffer.getvalue()
