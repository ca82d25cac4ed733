"""Takes over the registry's tags of apps whose newest image Redis lost, or which were built again since its copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildfarm.errors import RegistryError
from buildfarm.fields import NAME_PATTERN
from buildfarm.model import LATEST
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive.rebuild.held import Rebuilt
from buildfarm.store.database import Database
from buildfarm.store.keeping.apps import Apps
from buildfarm.store.tags import Tags

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_APPS = "apps/"
_RELEASE = "io.buildfarm.release"  # in the manifest of an image, as releases/document.py has it: the same for one build


@dataclass(frozen=True)
class RegistryTags:
    """``known`` is where each tag was to point before packs were forgotten.

    ``may_take`` says of a target and an image's digest whether it can become the newest one: a farm that signs takes no
    image without a signature. Raises StoreError and RegistryError.
    """

    database: Database
    registry: Registry
    known: Mapping[str, str]
    may_take: Callable[[str, str], bool]

    def take(self, done: Rebuilt, held: Collection[str]) -> None:
        """Notes the targets whose newest image is now the one that their tag in the registry is on.

        Their tag is on an image that Redis never had, and that another build made. If Redis knew some app, one that it
        does not know must have a build (``held``: in the archive). What has only been moved to another base since is
        left to rollouts, and so is an app whose newest image the registry has lost.
        """
        tags = Tags(self.database)
        for target, there in list(self._newer(done, held)):
            if tags.point(target, there, self.known.get(target, ""), is_new=target not in self.known):
                done.tags.append(target)

    def _newer(self, done: Rebuilt, held: Collection[str]) -> Iterator[tuple[str, str]]:
        for target in filter(is_app, self.registry.repositories()):
            here = self.known.get(target, "")
            if not here and self.known and not self._is_built(target, held):
                continue
            try:
                there, release = self._image(target, LATEST)
                if there in ("", here) or not self._is_newer(target, there, release, here):
                    continue
                if self.may_take(target, there):
                    yield target, there
                else:
                    done.unread.append(f"The tag of {target}: its image {there} has no signature. Build the app again.")
            except RegistryError as error:
                if isinstance(error, UnavailableError):
                    self.registry.ping()  # it may be this tag alone
                done.unread.append(f"The tag of {target}: {error.message}")

    def _is_built(self, target: str, held: Collection[str]) -> bool:
        place = target.removeprefix(_APPS)
        with self.database.failures():
            return place in held or self.database.client.zscore(self.database.key("apps"), place) is not None

    def _is_newer(self, target: str, there: str, release: str, here: str) -> bool:
        if self._is_known(target, there):
            return False  # of an app that Redis does not know: such as of a preview that has ended
        image, known = self._image(target, here) if here else (there, "")
        return bool(image) and not (release and release == known)

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


def is_app(repository: str) -> bool:
    """Whether a build can have published there: anybody with the registry's login can make other names."""
    tenant, slash, app = repository.removeprefix(_APPS).partition("/")
    names = (tenant, app) if slash and repository.startswith(_APPS) else ("",)
    return all(re.fullmatch(NAME_PATTERN, name) for name in names)
