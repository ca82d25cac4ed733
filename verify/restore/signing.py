"""Requests to the signer that wait while a farm is restored: ``python -m verify.restore.signing``.

Apps of one farm: "web" is signed before the copies. "asks" waits for the signer when they are taken, and is signed in
the hour after. "late" is built and signed in that hour. The second build of "waits" is handed over at its end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import RegistryError, SignatureError
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, BuildResult, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures import checking, referrers, simple
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.signer import FileSigner, new_key
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases
from buildfarm.telemetry import logger
from signer.beginning import begin
from signer.unsigned import UnsignedImages
from signer.work import Work
from testkit.registry.deployed import Deployed
from testkit.table import Claims
from verify.restore.services import State as Disks
from verify.restore.services import back_up_redis, copy, farm_on, free_port, new_state, show

SOURCE = ArtifactSource(repository="sources/t", digest=Digest("sha256:" + "a" * 64))
APPS = ("web", "asks", "late", "waits")
TENANT = "t"


@dataclass(frozen=True)
class Signing:
    """A farm that signs, started over some parts."""

    farm: Farm
    key: FileSigner

    @property
    def work(self) -> Work:
        """Its signer."""
        return Work.of(self.farm, Attaching(self.farm.registry, [self.key]), logger())

    def sign(self) -> int:
        """The signer starts and does all requests; returns how many."""
        begin(self.farm, logger())
        work, count = self.work, 0
        while work.turn():
            count += 1
        return count

    def look(self) -> int:
        """The signer looks at all tags, as it does by itself; returns how many images it asks for."""
        return UnsignedImages(self.work).look()

    def submit(self, app: str) -> str:
        """A build that waits for a node."""
        return self.farm.submit(BuildRequest(tenant=TENANT, app=app, source=SOURCE, cached_result=False)).id

    def hand_over(self, build_id: str, base: str, text: str) -> tuple[str, Digest]:
        """A node builds it; returns the build and its image, which waits for the signer."""
        lease = Leases(self.farm.admission, 60, 3).claim(build_id, "node")
        if not isinstance(lease, Lease) or lease.build is None:
            raise TypeError(f"{build_id} cannot be begun: {lease}")
        request = lease.build.request
        image = Deployed(self.farm).image(f"{TENANT}/{request.app}", base, text, str(SOURCE.digest.hex))
        result = BuildResult(
            repository=request.repository, digest=image.digest, tag=request.tag, layers=(), uploaded_bytes=1,
            phase_seconds={}, node="node", attempt=lease.attempt,
        )  # fmt: skip
        requests = SignRequests(self.farm.admission)
        requests.hand_over(lease, request.target, result, documents=(image.manifest, image.config))
        return build_id, image.digest

    def publish(self, app: str, base: str, text: str) -> tuple[str, Digest]:
        """Submitted and built."""
        return self.hand_over(self.submit(app), base, text)

    def tag(self, app: str) -> str:
        """Where it is; empty if there is none."""
        try:
            return str(self.farm.registry.get_manifest(f"apps/{TENANT}/{app}", "latest")[2])
        except NotInRegistryError:
            return ""

    def is_signed(self, app: str, digest: str) -> bool:
        """By the farm's key, as tag and as bundle, with provenance."""
        try:
            found = checking.verify(self.farm.registry, f"apps/{TENANT}/{app}", digest, [self.key.public_key])
        except (RegistryError, SignatureError):
            return False
        return found.forms == ("tag", "bundle") and bool(found.provenance)

    def attached(self, app: str, digest: Digest) -> list[bytes]:
        """The bytes of an image's signatures and of the index of its statements."""
        names = simple.tag_of(digest), referrers.tag_of(digest)
        return [self.farm.registry.get_manifest(f"apps/{TENANT}/{app}", name)[1] for name in names]

    def check_tags(self, claims: Claims) -> None:
        """Whatever has a tag has its signature."""
        tags = {app: tag for app in APPS if (tag := self.tag(app))}
        signed = [app for app, tag in tags.items() if self.is_signed(app, tag)]
        claims.add("nothing unsigned has a tag", f"{len(signed)} of {len(tags)} tags", len(signed) == len(tags))

    def check_goes_on(self, claims: Claims, build_id: str, base: str) -> None:
        """A build is built by a node, signed, and gets its tag."""
        _, digest = self.hand_over(build_id, base, "again")
        self.sign()
        good = self.tag("waits") == digest and self.is_signed("waits", str(digest))
        claims.add("the next build of the app is signed and gets its tag", digest[:19], good)


@dataclass(frozen=True)
class Hour:
    """What was made, by app: builds and their images."""

    base: str
    asks: tuple[str, Digest]
    late: tuple[str, Digest]
    waits_first: tuple[str, Digest]
    waits: tuple[str, Digest]
    attached: list[bytes]  # to the image of "asks" when it was signed


@dataclass(frozen=True)
class Place:
    """What is the same of the farm after each restore."""

    namespace: str
    port: int
    key: FileSigner

    @contextmanager
    def signing_on(self, disks: Disks) -> Iterator[Signing]:
        """The farm over these parts."""
        with farm_on(disks, self.namespace, port=self.port, signing="1") as farm:
            yield Signing(farm, self.key)


def tables(top: Path) -> list[Claims]:
    """Makes the farm and its copies, and restores it; a table for each of three restores."""
    (top / "signing.key").write_bytes(new_key())
    key = FileSigner.load(top / "signing.key")
    place = Place(f"restore-{secrets.token_hex(4)}:", free_port(), key)
    hour, copies, now = _made(top, place)
    cases = {
        "Redis lost": (_redis_lost, new_state(top, registry_from=now)),
        "Redis an hour old": (_redis_old, new_state(top, redis_from=copies, registry_from=now)),
        "Registry an hour old": (_registry_old, new_state(top, redis_from=now, registry_from=copies)),
    }
    found = []
    for name, (case, disks) in cases.items():
        title = f"{name}, with requests to the signer"
        print(f"\n{title}", flush=True)
        found.append(claims := Claims(title))
        with place.signing_on(disks) as signing:
            case(claims, signing, hour)
            signing.check_tags(claims)
    return found


def _made(top: Path, place: Place) -> tuple[Hour, Disks, Disks]:
    now, copies = new_state(top), Disks(top / "signing-copies")
    copies.folder.mkdir()
    with place.signing_on(now) as signing:
        base = Deployed(signing.farm).base("2026-01-01T00:00:00Z")
        signing.farm.promote_builder(base)
        signing.publish("web", base, "1")
        first = signing.publish("waits", base, "1")
        signing.sign()
        asks = signing.publish("asks", base, "1")
        back_up_redis(signing.farm.database.client, now.redis, copies.redis)
        copy(now.registry, copies.registry)
        signing.sign()
        late = signing.publish("late", base, "1")
        signing.sign()
        attached = signing.attached("asks", asks[1])
        return Hour(base, asks, late, first, signing.publish("waits", base, "2"), attached), copies, now


def _redis_lost(claims: Claims, signing: Signing, hour: Hour) -> None:
    """An empty Redis, and the registry as it was."""
    done = signing.sign()
    claims.add("requests are lost with their builds: submit again", f"{done} requests", done == 0)
    kept = signing.tag("waits") == hour.waits_first[1]
    claims.add("the tag of an app whose build waited stays where it was", hour.waits_first[1][:19], kept)
    signed = all(signing.is_signed(app, signing.tag(app)) for app in APPS)
    claims.add("all signed images verify with the same key", f"{len(APPS)} apps", signed)
    signing.farm.promote_builder(hour.base)  # as docs/restore.md says
    signing.check_goes_on(claims, signing.submit("waits"), hour.base)


def _redis_old(claims: Claims, signing: Signing, hour: Hour) -> None:
    """Redis as it was an hour ago, and the registry as it was."""
    done = signing.sign()
    same = signing.attached("asks", hour.asks[1]) == hour.attached
    figure = f"{done} request, {'the same' if same else 'other'} signatures and statements"
    claims.add("a request of the copy is done again, and attaches nothing else", figure, done == 1 and same)
    state = signing.farm.get(hour.asks[0]).state
    claims.add("its build ends, and the tag is at its image", str(state), _ended(signing, "asks", hour.asks))
    kept = signing.tag("waits") == hour.waits_first[1] and signing.tag("late") == hour.late[1]
    claims.add("builds since are lost; their tags stay where they were", "waits and late", kept)
    claims.add("no image is without a signature", f"{signing.look()} found", not signing.look())
    signing.check_goes_on(claims, signing.submit("waits"), hour.base)


def _registry_old(claims: Claims, signing: Signing, hour: Hour) -> None:
    """Redis as it was, and the registry as it was an hour ago."""
    done = signing.sign()
    state, kept = signing.farm.get(hour.waits[0]).state, signing.tag("waits") == hour.waits_first[1]
    figure = f"{done} request; the build is {state}, its tag {'where it was' if kept else 'elsewhere'}"
    claims.add("a request whose image is lost: it is built again", figure, state is State.QUEUED and kept)
    asked = signing.look()
    signing.sign()
    figure = f"{asked} found"
    claims.add(
        "a signature and a tag that are lost are made again", figure, asked == 1 and _ended(signing, "asks", hour.asks)
    )
    lost = not signing.tag("late")
    claims.add("an image that is lost has no tag: build it again", "late", lost)
    signing.farm.database.client.zadd(signing.farm.database.key("retries"), {hour.waits[0]: 0})  # its pause is over
    signing.check_goes_on(claims, hour.waits[0], hour.base)


def _ended(signing: Signing, app: str, made: tuple[str, Digest]) -> bool:
    build_id, digest = made
    succeeded = signing.farm.get(build_id).state is State.SUCCEEDED
    return succeeded and signing.tag(app) == digest and signing.is_signed(app, str(digest))


def main() -> None:
    """These three tables alone."""
    show(tables)


if __name__ == "__main__":
    main()
