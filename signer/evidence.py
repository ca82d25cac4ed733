"""What speaks for an image that a tag is to point to: a build's record, a move that can be repeated, or a signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from buildfarm.errors import SignatureError, UnsignableError
from buildfarm.model import IMAGES, Build, State
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures import checking
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.store.pages import READ, Pages
from buildfarm.store.records import decode_all
from signer.images import Images, Read
from signer.rules import Expected

_NAMED_IN = {State.SUCCEEDED: "result", State.RUNNING: "published"}  # which field of a record names the build's image
_PAGES = 10  # of an app's builds, in which the one that made an image is looked for


@dataclass(frozen=True)
class Evidence:
    """Every method raises StoreError, RegistryError and UnsignableError."""

    images: Images
    keys: tuple[PublicKey, ...]  # of this signer

    def check(self, target: str, image: Read) -> None:
        """The image may be signed for this target. Nothing that was said in the request counts."""
        moves = Rebases(self.images.farm.database).of(*_place(target))
        move = next((one for one in moves if one.image == image.digest), None)
        if move is not None and self._is_move(target, image, move):
            return
        if not self._is_vouched(target, image):
            what = f"The image {image.repository}@{image.digest} is not signed"
            if move is None:
                raise UnsignableError(f"{what}: no build of {target} and no move made it.")
            raise UnsignableError(f"{what}: the image that was moved has no signature.")

    def _is_vouched(self, target: str, image: Read) -> bool:
        """Whether it was there before signing, has a signature of this signer, or is what a build's record says."""
        if Adopted(self.images.farm.database).has(target, image.digest) or self._is_signed(image):
            return True
        build = next((one for one, digest in self._builds(target) if digest == image.digest), None)
        if build is not None:
            self.images.check(image, Expected.of(build))
        return build is not None

    def _is_signed(self, image: Read) -> bool:
        registry = self.images.farm.registry
        try:
            return bool(checking.verify(registry, image.repository, image.digest, self.keys))
        except SignatureError:
            return False

    def _builds(self, target: str) -> Iterator[tuple[Build, str]]:
        """The target's builds with their image, the newest first: they succeeded, or publish under a lease.

        Answers from memory do not count: the build that made the image does.
        """
        tenant, app = _place(target)
        pages, after = Pages(self.images.farm.database), ""
        for _ in range(_PAGES):
            found, more = pages.of_app(tenant, app, after, READ)
            records = [record for _, record in found]
            for record, build in zip(records, decode_all(records), strict=True):
                if build and build.attempt and build.request.target == target and build.state in _NAMED_IN:
                    yield build, _digest(record, _NAMED_IN[build.state])
            if not more:
                return
            after = found[-1][0]

    def _is_move(self, target: str, image: Read, move: Rebase) -> bool:
        """Whether it is an image that may be signed, on another base; False if the image before may not be signed."""
        for before in dict.fromkeys((move.built, move.previous)):
            if before and (origin := self._origin(target, image.repository, before)):
                channels = frozenset(Pointers(self.images.farm.database).all())
                self.images.check_move(image, origin, move.base, channels)
                return True
        return False

    def _origin(self, target: str, repository: str, digest: str) -> Read | None:
        """An image that was moved; None if it is gone or may not be signed."""
        try:
            image = self.images.read(repository, Digest(digest))
            return image if self._is_vouched(target, image) else None
        except UnsignableError:
            return None


def _place(target: str) -> tuple[str, str]:
    """Tenant and app under which the target's builds are listed; see `BuildRequest` and `ImageRequest`."""
    if target.startswith("apps/"):
        _, tenant, app = target.split("/")
        return tenant, app
    return IMAGES, target.removeprefix(f"{IMAGES}/").replace("/", "-")


def _digest(record: Mapping[str, str], field: str) -> str:
    """Of the image that this field of a record names."""
    try:
        return str(json.loads(record.get(field) or "{}").get("digest", ""))
    except (ValueError, AttributeError):
        return ""
