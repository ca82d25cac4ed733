"""Notes which layers new images have, and on which bases they stand, for queries over all apps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.facts.components.image import read_image
from buildfarm.releases.facts.components.store import ComponentStore
from workers.caches.facts.newest import is_app


@dataclass(frozen=True)
class ImageNotes:
    """One node's. ``bases`` are those that apps' newest images stand on: their layers are read too."""

    registry: Registry
    store: ComponentStore
    bases: set[str] = field(default_factory=set)

    def note(self, image: str, layers: Iterable[Digest]) -> None:
        """An app's newest image, or a base, as repository@digest. Raises StoreError, RegistryError and ValueError."""
        repository, _, digest = image.partition("@")
        if not is_app(repository):
            self.store.note_image(image, digest, "", layers)
            return
        base = "@".join(read_image(self.registry, repository, digest).base).strip("@")
        self.bases.update({base} - {""})
        self.store.note_image(repository, digest, base, layers)
