"""What speaks for an image that a tag is to point to: a build's record, a move that can be repeated, or a signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from buildfarm.errors import UnsignableError
from buildfarm.model import IMAGES, Build, BuildResult, State
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures import checking
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.document import RELEASE_ANNOTATION
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.store.pages import READ, Pages
from buildfarm.store.records import decode_all
from signer.images import Images, Read
from signer.predicates.provenance import Predicate, Provenance
from signer.predicates.recorded import Recorded
from signer.rules import Expected

_NAMED_IN = {State.SUCCEEDED: "result", State.RUNNING: "published"}  # which field of a record names the build's image
_PAGES = 10  # of an app's builds, in which the one that made an image is looked for


@dataclass(frozen=True)
class Evidence:
    """Every method raises StoreError, RegistryError and UnsignableError."""

    images: Images
    keys: tuple[PublicKey, ...]  # of this signer
    provenance: Provenance

    def check(self, target: str, image: Read) -> Predicate | None:
        """The image may be signed for this target. Nothing that was said in the request counts.

        Returns its provenance, empty if that is turned off; None if nothing says how it was made.
        """
        moves = Rebases(self.images.farm.database).of(*_place(target))
        move = next((one for one in moves if one.image == image.digest), None)
        if move is not None and (made := self._made_by(target, image, move)) is not None:
            return made
        is_vouched, found = self._vouched(target, image)
        if not is_vouched:
            what = f"The image {image.repository}@{image.digest} is not signed"
            if move is None:
                raise UnsignableError(f"{what}: no build of {target} and no move made it.")
            raise UnsignableError(f"{what}: the image that was moved has no signature.")
        return found

    def _vouched(self, target: str, image: Read) -> tuple[bool, Predicate | None]:
        """Whether the image is what a build's record says, has a signature of this signer, or was there before signing.

        The record is first: a request that was interrupted may have left a signature without provenance.
        """
        try:
            if (found := self._recorded(target, image)) is not None:
                return True, found
        except (UnsignableError, ValueError, TypeError, AttributeError, RecursionError):
            if not self._is_trusted(target, image):
                raise
            return True, None
        return self._is_trusted(target, image), None

    def _recorded(self, target: str, image: Read) -> Predicate | None:
        """The provenance of what a build's record says; None if no record names the image."""
        for build, record in self._builds(target):
            result = record.get(_NAMED_IN[build.state])
            if _digest(result) == image.digest:
                checked = self.images.check(image, Expected.of(build))
                return self.provenance.of_build(Recorded.of(build, record, _result(result), checked))
        return None

    def _is_trusted(self, target: str, image: Read) -> bool:
        """Whether it was there before signing, or this signer has signed it."""
        return Adopted(self.images.farm.database).has(target, image.digest) or self._is_signed(image)

    def _is_signed(self, image: Read) -> bool:
        return checking.is_signed(self.images.farm.registry, image.repository, image.digest, self.keys)

    def _builds(self, target: str) -> Iterator[tuple[Build, Mapping[str, str]]]:
        """The target's builds with their records, the newest first: they succeeded, or publish under a lease.

        Answers from memory do not count: the build that made the image does.
        """
        tenant, app = _place(target)
        pages, after = Pages(self.images.farm.database), ""
        for _ in range(_PAGES):
            found, more = pages.of_app(tenant, app, after, READ)
            records = [record for _, record in found]
            for record, build in zip(records, decode_all(records), strict=True):
                if build and build.attempt and build.request.target == target and build.state in _NAMED_IN:
                    yield build, record
            if not more:
                return
            after = found[-1][0]

    def _made_by(self, target: str, image: Read, move: Rebase) -> Predicate | None:
        """The provenance of an image that may be signed, on another base; None if the image before may not be."""
        for before in dict.fromkeys((move.built, move.previous)):
            if before and (origin := self._origin(target, before, image)):
                channels = frozenset(Pointers(self.images.farm.database).all())
                channel = self.images.check_move(image, origin, move.base, channels)
                release = str(image.manifest.annotations.get(RELEASE_ANNOTATION, ""))
                return self.provenance.of_move(target, move, str(origin.digest), channel, release)
        return None

    def _origin(self, target: str, digest: str, moved: Read) -> Read | None:
        """An image that was moved; None if it is gone or may not be signed."""
        try:
            image = self.images.read(moved.repository, Digest(digest), moved.documents)
            return image if self._is_trusted(target, image) or self._recorded(target, image) is not None else None
        except UnsignableError:
            return None


def _place(target: str) -> tuple[str, str]:
    """Tenant and app under which the target's builds are listed; see `BuildRequest` and `ImageRequest`."""
    if target.startswith("apps/"):
        _, tenant, app = target.split("/")
        return tenant, app
    return IMAGES, target.removeprefix(f"{IMAGES}/").replace("/", "-")


def _digest(result: str | None) -> str:
    """Of the image that a result in a record names."""
    try:
        return str(json.loads(result or "{}").get("digest", ""))
    except (ValueError, AttributeError):
        return ""


def _result(text: str | None) -> BuildResult | None:
    try:
        return BuildResult.model_validate_json(text or "", extra="ignore")
    except ValueError:
        return None
