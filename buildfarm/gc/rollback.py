"""Back to an earlier image: the record of the tag first, which decides, and then the tag in the registry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import ConflictError, NotFoundError, RegistryError, RequestError
from buildfarm.gc.retention import Rollback, digest_of
from buildfarm.model import Build
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError
from buildfarm.oci.retry import UnavailableError
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.app_tags import AppTags
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
        if self.signing and not self._can_be_signed(build):
            raise RequestError(
                f"The image of build {build.id} has no signature and cannot get one: its record is no longer in Redis.",
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

    def _can_be_signed(self, build: Build) -> bool:
        """Whether the image is signed, or the signer can see that this farm built it."""
        result, target = build.result, build.request.target
        if result is None or AppTags(self.registry(), self.history.records).is_signed(target, str(result.digest)):
            return True
        if Adopted(self._tags.database).has(target, str(result.digest)):
            return True
        with suppress(NotFoundError):
            return self.history.records.get(build.result_of or build.id).attempt > 0
        return False

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
