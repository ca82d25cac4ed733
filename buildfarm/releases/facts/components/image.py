"""The layers of an image, and their components as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import NotFoundError, NotRebasableError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.base import Base, read_base
from buildfarm.releases.facts.components.layer import LayerComponents, merged
from buildfarm.releases.facts.components.store import FAILED, ComponentStore
from buildfarm.releases.facts.wanted import Urgency, WantedImages
from buildfarm.releases.movable import NewestImage
from buildfarm.releases.shelf import read_release

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

APPS = "apps/"


@dataclass(frozen=True)
class Part:
    """An image or its base: its own layers, and what is known of them."""

    reference: str  # repository@digest
    components: LayerComponents
    distribution: str  # as debian-13; empty if the image does not name it
    pending: tuple[str, ...] = ()  # diff IDs of the layers that nodes are still to read
    failed: tuple[str, ...] = ()  # and of those that no node could read; they are tried again


def read_image(registry: Registry, repository: str, digest: str) -> NewestImage:
    """An image with its config. Raises RegistryError, and ValueError if its config cannot be read."""
    manifest, found = registry.read_manifest(repository, Digest(digest))
    config = ImageConfig.parse(registry.read_blob(repository, manifest.config.digest))
    return NewestImage(repository, found, manifest, config)


@dataclass(frozen=True)
class ImageReader:
    """Raises StoreError, RegistryError, and NotFoundError if the registry does not have the image."""

    registry: Registry
    components: ComponentStore
    wanted: WantedImages
    urgency: Urgency = Urgency.LATER  # of what nodes have not read

    def read(self, repository: str, digest: str) -> tuple[Part, Part | None]:
        """The image without its base, and the base; None if it is a base itself, or does not name one.

        Nodes are asked for the layers that they have not read.
        """
        try:
            if not repository.startswith(APPS):
                return self._base(read_base(self.registry, repository, Digest(digest))), None
            return self._app(repository, digest)
        except (NotInRegistryError, NotRebasableError, ValueError) as error:
            raise NotFoundError(
                f"The layers of {repository}@{digest} cannot be read: {error}",
                advice="Name an image that this farm has built, and that the registry still has.",
            ) from error

    def _app(self, repository: str, digest: str) -> tuple[Part, Part | None]:
        image = read_image(self.registry, repository, digest)
        release = read_release(self.registry, repository, image.manifest)
        layers = [str(one.diff_id) for one in release.layers]
        stack = (release.stack.get("distribution", ""), release.stack.get("distribution_version", ""))
        app = self._part(f"{repository}@{image.digest}", layers, "-".join(filter(None, stack)))
        where, base_digest = image.base
        try:
            base = self._base(read_base(self.registry, where, Digest(base_digest))) if where else None
        except (NotInRegistryError, ValueError):
            base = None
        return app, base

    def _base(self, base: Base) -> Part:
        layers = [str(diff_id) for diff_id in base.config.diff_ids]
        stack = (base.stack.get("distribution", ""), base.stack.get("distribution_version", ""))
        return self._part(base.reference, layers, "-".join(filter(None, stack)))

    def _part(self, reference: str, layers: list[str], distribution: str) -> Part:
        known = self.components.get(layers)
        if lacking := [layer for layer in layers if layer not in known]:
            self.wanted.add(reference, self.urgency)
        failed = tuple(layer for layer in layers if known.get(layer) == FAILED)
        found = merged(known[layer] for layer in layers if layer in known)
        return Part(reference, found, distribution, tuple(lacking), failed)
