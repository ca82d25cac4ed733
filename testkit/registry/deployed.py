"""Apps that look as if a build had published them: an image with its release, and the tag. Made without a node."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

from buildfarm.farm import Farm
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, ComposedImage, RuntimeConfig
from buildfarm.oci.manifest import LayerDigests
from buildfarm.releases.base import Base, read_base
from buildfarm.releases.compose import release_of
from buildfarm.releases.shelf import mount_base, put_image
from testkit.registry.builder import archive_of, push_builder, push_patched

LABELS = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "buildfarm.trixie"}


@dataclass(frozen=True)
class Deployed:
    """Apps of one farm."""

    farm: Farm
    diff_ids: dict[str, None] = field(default_factory=dict)  # of the layers of apps, in their order

    def base(
        self, created: str, labels: Mapping[str, str] = LABELS, files: Mapping[str, str | bytes] | None = None
    ) -> str:
        """A base with one file more than the smallest builder, and with these ``files``, as repository@digest."""
        small = push_builder(self.farm.registry)
        return push_patched(self.farm.registry, small, {"patch": created, **(files or {})}, created, Labels=labels)

    def app(
        self, name: str, reference: str, *, code: str = "1", label: str = "", layers: int = 1, variables: int = 1,
        files: Mapping[str, str | bytes] | None = None,
    ) -> str:  # fmt: skip
        """Publishes an image of tenant/app on a base, with so many own layers; returns its digest.

        Apps with the same ``label`` have the same layers. Each layer has these ``files`` too.
        """
        registry, base = self.farm.registry, self.read(reference)
        repository = f"apps/{name}"
        added = []
        for number in range(layers):
            archive = archive_of({"app/code": f"{label or name} {code} {number}", **(files or {})})
            packed = gzip.compress(archive, mtime=0)
            digest = registry.put_blob(repository, packed)
            self.diff_ids[Digest.of(archive)] = None
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

    def image(self, name: str, reference: str, code: str, revision: str) -> ComposedImage:
        """Sends an image of tenant/app on a base as a build of this revision of its source makes it; without a tag."""
        registry, base = self.farm.registry, self.read(reference)
        archive = archive_of({"app/code": f"{name} {code}"})
        packed = gzip.compress(archive, mtime=0)
        digest = registry.put_blob(f"apps/{name}", packed)
        layer = AddedLayer(LayerDigests(digest, Digest.of(archive), len(packed), len(archive)), "app")
        labels = {"org.opencontainers.image.title": name, "org.opencontainers.image.revision": revision}
        changes = RuntimeConfig(cmd=("web",), labels=labels)
        release = release_of(
            base, [layer], changes=changes, kind="docker", compression="gzip", registry=registry.host
        )  # fmt: skip
        mount_base(registry, f"apps/{name}", base)
        return put_image(registry, f"apps/{name}", release, base, look=False)

    def read(self, reference: str) -> Base:
        """A base."""
        repository, _, digest = reference.partition("@")
        return read_base(self.farm.registry, repository, digest)

    def tags(self, names: list[str]) -> dict[str, str]:
        """Where the registry's tags of these apps are."""
        return {name: str(self.farm.registry.get_manifest(f"apps/{name}", "latest")[2]) for name in names}
