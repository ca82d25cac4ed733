"""Back to an earlier image: the record of the tag first, which decides, and then the tag in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import ConflictError, NotFoundError, RegistryError, RequestError
from buildfarm.gc.retention import Rollback, digest_of
from buildfarm.model import Build, BuildResult
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError
from buildfarm.oci.manifest import ImageConfig
from buildfarm.oci.retry import UnavailableError
from buildfarm.releases.movable import NewestImage
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.store import Tags
from buildfarm.store.archive import History
from buildfarm.telemetry import logger

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_REMOVED = (NotInRegistryError, MissingBlobError)  # by a collection, in between


@dataclass(frozen=True)
class ImagesBefore:
    """An app's earlier images. Methods raise StoreError if Redis cannot be reached."""

    history: History
    registry: Callable[[], Registry]
    signing: bool = False

    def restore(self, build_id: str, seen: str) -> Rollback:
        """Point the tag at the image of a build, as `Farm.roll_back` says."""
        seen = digest_of(seen) if seen else ""
        build = self.history.get(build_id)
        result, target = build.result, build.request.target
        if result is None:
            raise RequestError(f"Build {build.id} has no image.", advice="Choose a build that succeeded.")
        if not self.registry().has_manifest(result.repository, result.digest):
            raise _gone(build, "the registry no longer has it")
        if self.signing and (obstacle := self._unsignable(build)):
            raise RequestError(
                f"The image of build {build.id} has no signature and cannot get one: {obstacle}.",
                advice="Build its source again, or choose a newer image.",
            )
        before = self._tags.point(target, str(result.digest), seen)
        if before is None:
            raise ConflictError(
                f"The tag of {build.request.tenant}/{build.request.app} has moved to another image.",
                advice="Look at the app's image again (buildfarm apps show), then decide.",
            )
        try:
            moved = self._move(build, target)
        except RegistryError as error:
            # Unless a newer build has published, the tag stays where it was.
            self._tags.point(target, before.digest, str(result.digest), before.published)
            if isinstance(error, _REMOVED):
                raise _gone(build, error.message) from error
            raise
        return Rollback(
            build=build.id, tag=build.request.tag, digest=result.digest, before=before.digest, unsigned=not moved
        )

    def _unsignable(self, build: Build) -> str:
        """Why the signer would refuse the image, as far as it shows here; empty if it is signed or can be."""
        result, target = build.result, build.request.target
        if result is None or AppTags(self.registry(), self.history.records).is_signed(target, str(result.digest)):
            return ""
        if Adopted(self._tags.database).has(target, str(result.digest)):
            return ""
        try:
            if not self.history.records.get(build.result_of or build.id).attempt:
                return "no build in Redis made it"
        except NotFoundError:
            return "its record is no longer in Redis"
        return "" if self._is_base_known(result) else "its base is not one that an operator chose"

    def _is_base_known(self, result: BuildResult) -> bool:
        """Whether operators chose the base of an app's image; True if that is not known here."""
        known = KnownBases(self._tags.database)
        if not result.repository.startswith("apps/") or known.is_empty():
            return True
        try:
            manifest, digest = self.registry().read_manifest(result.repository, result.digest)
            config = ImageConfig.parse(self.registry().read_blob(result.repository, manifest.config.digest))
        except (RegistryError, ValueError):
            return True
        base = NewestImage(result.repository, digest, manifest, config).base
        return known.has("@".join(base))

    def _move(self, build: Build, target: str) -> bool:
        """False if the tag waits for the signer. A collection leaves alone what got a tag.

        If the registry is unreachable, a node moves the tag later.
        """
        try:
            return AppTags(self.registry(), self.history.records, self.signing).move(target)
        except UnavailableError as error:
            logger().warning("tag_not_moved", build=build.id, reason=error.message)
            return True

    @property
    def _tags(self) -> Tags:
        return Tags(self.history.records.database)


def _gone(build: Build, reason: str) -> RequestError:
    return RequestError(
        f"The image of build {build.id} cannot be used again: {reason.rstrip('.')}.",
        advice="Build its source again, or choose another image.",
    )
