"""A farm that signs: Redis is real, the registry is in this process, and builds are published without a node."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import pytest

from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildRequest, BuildResult
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import LayerDigests
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.signer import FileSigner, new_key
from buildfarm.releases.base import read_base
from buildfarm.releases.compose import release_of
from buildfarm.releases.shelf import mount_base, put_image
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases
from buildfarm.telemetry import logger
from signer.work import Work
from testkit.registry.builder import push_builder, push_patched
from testkit.registry.fake import FakeRegistry

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
LABELS = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "buildfarm.trixie"}
FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
TARGET = "apps/t/a"


@dataclass(frozen=True)
class Publishing:
    """Builds of tenant t, as a node does them."""

    farm: Farm
    base: str

    @property
    def leases(self) -> Leases:
        return Leases(self.farm.admission, 6, 3)

    def claimed(self, app: str = "a", **fields: object) -> Lease:
        build = self.farm.submit(BuildRequest(tenant="t", app=app, source=SOURCE, **fields))
        lease = self.leases.claim(build.id, "n")
        assert isinstance(lease, Lease)
        return lease

    def result(
        self, lease: Lease, *, code: str = "1", repository: str = TARGET, title: str = "t/a", revision: str = "a" * 64,
        base: str = "",
    ) -> BuildResult:  # fmt: skip
        digest = self.image(code=code, repository=repository, title=title, revision=revision, base=base)
        return BuildResult(
            repository=repository, digest=digest, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={}, node="n",
            attempt=lease.attempt,
        )  # fmt: skip

    def image(self, *, code: str, repository: str, title: str, revision: str, base: str = "") -> Digest:
        registry = self.farm.registry
        place, _, found = (base or self.base).partition("@")
        stood_on = read_base(registry, place, found)
        archive = code.encode() * 1024
        packed = gzip.compress(archive, mtime=0)
        layer = LayerDigests(registry.put_blob(repository, packed), Digest.of(archive), len(packed), len(archive))
        labels = {"org.opencontainers.image.title": title, "org.opencontainers.image.revision": revision}
        release = release_of(
            stood_on, [AddedLayer(layer, "app")], changes=RuntimeConfig(labels=labels), kind="docker",
            compression="gzip", registry=registry.host,
        )  # fmt: skip
        mount_base(registry, repository, stood_on)
        return put_image(registry, repository, release, stood_on, look=False).digest

    def handed_over(self, lease: Lease | None = None, **image: str) -> tuple[Lease, BuildResult]:
        lease = lease or self.claimed()
        result = self.result(lease, **image)
        SignRequests(self.farm.admission).hand_over(lease, TARGET, result)
        return lease, result

    def tag(self) -> str:
        """Where the registry's tag is; empty if there is none."""
        if not self.farm.registry.has_manifest(TARGET, "latest"):
            return ""
        return str(self.farm.registry.get_manifest(TARGET, "latest")[2])


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def farm(settings, fake):
    own = {"registry_url": f"http://{fake.host}", "builder": "", "signing": "1", "attempts_max": 1}
    with open_farm(settings.model_copy(update=own)) as farm:
        yield farm


def make_base(farm, created):
    return push_patched(farm.registry, push_builder(farm.registry), {"patch": created}, created, Labels=LABELS)


@pytest.fixture
def publishing(farm):
    base = make_base(farm, FIRST)
    farm.promote_builder(base)
    return Publishing(farm, base)


@pytest.fixture
def key(tmp_path):
    (tmp_path / "signing.key").write_bytes(new_key())
    return FileSigner.load(tmp_path / "signing.key")


@pytest.fixture
def work(farm, key):
    return Work.of(farm, Attaching(farm.registry, [key]), logger())


@pytest.fixture
def requests(farm):
    return SignRequests(farm.admission)


def due_again(farm):
    """As if the claims of all requests had ended."""
    name = farm.database.key("signing")
    for member in farm.database.client.zrange(name, 0, -1):
        farm.database.client.zadd(name, {member: 0})
