"""Apps that look as if a build had published them: an image with its release, and the tag. Made without a node."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.farm import Farm
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import LayerDigests
from buildfarm.releases.base import Base, read_base
from buildfarm.releases.compose import release_of
from buildfarm.releases.shelf import mount_base, put_image
from testkit.registry.builder import push_builder, push_patched

LABELS = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "buildfarm.trixie"}


@dataclass(frozen=True)
class Deployed:
    """Apps of one farm."""

    farm: Farm

    def base(self, created: str, labels: Mapping[str, str] = LABELS) -> str:
        """A base with one file more than the smallest builder, as repository@digest."""
        small = push_builder(self.farm.registry)
        return push_patched(self.farm.registry, small, {"patch": created}, created, Labels=labels)

    def app(
        self, name: str, reference: str, *, code: str = "1", label: str = "", layers: int = 1, variables: int = 1
    ) -> str:
        """Publishes an image of tenant/app on a base, with so many own layers; returns its digest.

        Apps with the same ``label`` have the same layers.
        """
        registry, base = self.farm.registry, self.read(reference)
        repository = f"apps/{name}"
        added = []
        for number in range(layers):
            archive = _archive(f"{label or name} {code} {number}")
            packed = gzip.compress(archive, mtime=0)
            digest = registry.put_blob(repository, packed)
            added.append(AddedLayer(LayerDigests(digest, Digest.of(archive), len(packed), len(archive)), "app"))
        changes = RuntimeConfig(cmd=("web",), env={f"VARIABLE_{n}": f"{name} {n}" for n in range(variables)})
        release = release_of(
            base, added, changes=changes, kind="docker", compression="gzip", registry=registry.host
        )  # fmt: skip
        mount_base(registry, repository, base)
        image = put_image(registry, repository, release, base, look=False)
        self.farm.database.client.hset(self.farm.database.key("tags"), repository, image.digest)
        registry.move_tag(repository, "latest", lambda: self.farm.records.tag_target(repository))
        return str(image.digest)

    def read(self, reference: str) -> Base:
        """A base."""
        repository, _, digest = reference.partition("@")
        return read_base(self.farm.registry, repository, digest)

    def tags(self, names: list[str]) -> dict[str, str]:
        """Where the registry's tags of these apps are."""
        return {name: str(self.farm.registry.get_manifest(f"apps/{name}", "latest")[2]) for name in names}


def _archive(text: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("app/code")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()
