"""Notes which layers images have, and on which bases they stand, for queries over all apps."""

from __future__ import annotations

from collections.abc import Iterable, Set
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

    def unreadable(self, image: str) -> None:
        """It is gone, or not one of the farm: its layers will not be known. Raises StoreError."""
        repository, _, digest = image.partition("@")
        self.store.note_image(repository if is_app(repository) else image, digest, "", ())

    def begin(self) -> None:
        """All images are about to be noted again."""
        self.bases.clear()

    def end(self, names: Set[str]) -> None:
        """All have been noted: these, apps' repositories and bases, are all that there are. Raises StoreError."""
        self.store.keep_images(names)

    def asked(self) -> Iterable[str]:
        """Those that are to be looked at again. Raises StoreError."""
        return self.store.asked()
