"""Takes over the registry's tags of apps whose newest image Redis lost, or which were built again since its copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildfarm.model import LATEST
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.store.database import Database
from buildfarm.store.keeping.apps import Apps
from buildfarm.store.tags import Tags, tag_targets

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_APPS = "apps/"
_RELEASE = "io.buildfarm.release"  # in the manifest of an image, as releases/document.py has it: the same for one build


@dataclass(frozen=True)
class RegistryTags:
    """Raises StoreError and RegistryError."""

    database: Database
    registry: Registry

    def take(self, *, only_lost: bool) -> Iterator[str]:
        """The targets whose newest image is now the one that their tag in the registry is on.

        Those are all that Redis does not know, and, unless ``only_lost``, those whose tag is on an image that it never
        had, and that another build made. What has only been moved to another base since is left to rollouts.
        """
        known, tags = tag_targets(self.database), Tags(self.database)
        for target in self.registry.repositories():
            here = known.get(target, "")
            if not target.startswith(_APPS) or (here and only_lost):
                continue
            there, release = self._image(target, LATEST)
            if there in ("", here) or (here and not self._is_newer(target, there, release, here)):
                continue
            if tags.point(target, there, here):
                yield target

    def _is_newer(self, target: str, there: str, release: str, here: str) -> bool:
        image, known = self._image(target, here)
        is_same = bool(release) and release == known
        return bool(image) and not is_same and not self._is_known(target, there)

    def _image(self, repository: str, reference: str) -> tuple[str, str]:
        """An image's digest and its release; both empty if there is no image."""
        try:
            manifest, digest = self.registry.read_manifest(repository, reference)
        except (NotInRegistryError, ValueError):  # the second: a person has put something else there
            return "", ""
        return str(digest), manifest.annotations.get(_RELEASE, "")

    def _is_known(self, target: str, image: str) -> bool:
        """Whether Redis knows the build that made an image, or its move to another base."""
        with self.database.failures():
            moves: Any = self.database.client.lrange(self.database.key("rebases", target.removeprefix(_APPS)), 0, -1)
        return any(image in move for move in moves) or bool(
            Apps(self.database).builds_of_image(image.partition(":")[2])
        )
