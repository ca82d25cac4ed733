"""The one place that moves the tags of images: of apps and of the farm's own, after builds, rollbacks and moves.

With signing on, no tag moves to an image without a signature: the signer is asked for one, and moves the tag then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.model import place_of
from buildfarm.oci.digest import Digest

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry
    from buildfarm.oci.signatures import simple
    from buildfarm.releases.signing import requests
    from buildfarm.store import Records
else:  # only farms that sign need them
    simple = LazyModule("buildfarm.oci.signatures.simple")
    requests = LazyModule("buildfarm.releases.signing.requests")


@dataclass(frozen=True)
class AppTags:
    """Moves tags to what the record says. Methods raise RegistryError and StoreError."""

    registry: Registry
    records: Records
    signing: bool = False
    signed: frozenset[str] = frozenset()  # digests that this process has just signed: they are not looked for

    def move(
        self,
        target: str,
        wanted: Callable[[], str] | None = None,
        sent: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> bool:
        """Point the tag of a target at the image that the record names; see `Registry.move_tag`.

        False: the image has no signature. The signer was asked for one, and moves the tag then.

        Args:
            target: a request's ``target``.
            wanted: what to ask instead of the record.
            sent: media type and bytes of manifests by digest, which then need not be fetched: the signer gets them with
                the request.
        """
        repository, tag = place_of(target)
        ask = wanted or (lambda: self.records.tag_target(target))
        if not self.signing:
            self.registry.move_tag(repository, tag, ask, sent or {})
            return True
        try:
            self.registry.move_tag(repository, tag, lambda: self._signed(target, ask()), sent or {})
        except _UnsignedError as error:
            # Of an image that was named meanwhile, these would be the wrong ones.
            given = [content for _, content in (sent or {}).values()] if error.digest in (sent or {}) else []
            requests.SignRequests(self.records.admission).ask(target, given)
            return False
        return True

    def is_signed(self, target: str, digest: str) -> bool:
        """Whether the registry has signatures of the image; who made them is for those to check who pull it."""
        return self.registry.has_manifest(place_of(target)[0], simple.tag_of(Digest(digest)))

    def _signed(self, target: str, digest: str) -> str:
        if digest not in ("", *self.signed) and not self.is_signed(target, digest):
            raise _UnsignedError(digest)
        return digest


class _UnsignedError(Exception):
    """The image has no signature yet."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest
