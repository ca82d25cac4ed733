"""What the registry says of an image that is to be signed, compared with what it must be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from buildfarm.errors import NotRebasableError, UnsignableError
from buildfarm.farm import Farm
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, ImageConfig, Manifest
from buildfarm.releases.base import Base, read_base
from buildfarm.releases.compose import compose
from buildfarm.releases.labels import BASE_DIGEST, BASE_NAME
from buildfarm.releases.movable import NewestImage
from buildfarm.releases.shelf import read_release
from buildfarm.releases.signing.known_bases import KnownBases
from signer.documents import GivenDocuments
from signer.rules import REVISION, Expected, labels_of, refusal, stands_on

NO_DOCUMENTS: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Read:
    """An image's manifest, as the registry has it."""

    repository: str
    digest: Digest
    media_type: str
    content: bytes
    documents: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def descriptor(self) -> Descriptor:
        """By which what is attached to the image names it."""
        return Descriptor(self.media_type, self.digest, len(self.content))

    @property
    def manifest(self) -> Manifest:
        """Raises ValueError."""
        return Manifest.parse(self.content, self.media_type)


@dataclass(frozen=True)
class Images:
    """Every method raises StoreError, RegistryError, and UnsignableError with the reason."""

    farm: Farm
    _bases: dict[str, Base] = field(default_factory=dict)  # those that were read, by repository@digest

    def read(self, repository: str, digest: Digest, documents: Mapping[str, bytes] = NO_DOCUMENTS) -> Read:
        """The manifest. Whether it is an image's is not known yet.

        ``documents`` are manifests and such by their digests, as they came with the request. The registry has others.
        """
        if (known := documents.get(digest)) is not None and (media_type := _media_type(known)):
            return Read(repository, digest, media_type, known, documents)
        try:
            media_type, content, found = self.farm.registry.get_manifest(repository, digest)
        except NotInRegistryError as error:
            raise UnsignableError(f"The registry does not have the image {repository}@{digest}.") from error
        return Read(repository, found, media_type, content, documents)

    def check(self, image: Read, expected: Expected) -> tuple[str, str]:
        """The image is what its build's record says.

        Returns the source's commit or digest by the image's label, and the base; both empty if it is not an app's.
        """
        if not expected.is_app:
            if reason := refusal(expected, image.repository, ImageConfig("", "", (), {}, (), {})):
                raise _refused(image, reason)
            return "", ""
        found = self._app(image)
        reason = refusal(expected, image.repository, found.config)
        if not reason and labels_of(found.config).get(BASE_DIGEST) != found.base[1]:
            reason = f"its label and its annotation {BASE_DIGEST} differ"
        if not reason and not stands_on(found.config, self._known("@".join(found.base), image).config):
            reason = "its lowest layers are not those of its base"
        if reason:
            raise _refused(image, reason)
        return str(labels_of(found.config).get(REVISION, "")), "@".join(found.base)

    def check_move(self, image: Read, origin: Read, base: str, channels: frozenset[str]) -> str:
        """The image is the release of ``origin`` on another base: composed here again, it has the same digest.

        Returns the channel that it follows.
        """
        name = str(image.manifest.annotations.get(BASE_NAME, ""))
        try:
            documents = GivenDocuments(self.farm.registry, image.documents)
            release = read_release(documents, origin.repository, origin.manifest)
        except (NotRebasableError, ValueError) as error:
            raise _refused(image, f"the release of {origin.digest} cannot be read") from error
        channel = name.rpartition(":")[2]
        if channel not in channels | {release.channel}:
            raise _refused(image, "it follows a channel that the farm does not have")
        if compose(release, self._known(base, image), channel).digest != image.digest:
            raise _refused(image, f"it is not the release of {origin.digest} on {base}")
        return channel

    def _app(self, image: Read) -> NewestImage:
        registry, repository = self.farm.registry, image.repository
        try:
            manifest = image.manifest
            digest = manifest.config.digest
            config = ImageConfig.parse(image.documents.get(digest) or registry.read_blob(repository, digest))
        except (NotInRegistryError, ValueError) as error:
            raise _refused(image, f"it cannot be read: {error}") from error
        return NewestImage(repository, image.digest, manifest, config)

    def _known(self, reference: str, image: Read) -> Base:
        """A base that an operator chose."""
        if reference not in self._bases:
            if reference != self.farm.settings.builder and not KnownBases(self.farm.database).has(reference):
                raise _refused(image, "its base is not one that an operator chose")
            repository, _, digest = reference.partition("@")
            try:
                self._bases[reference] = read_base(self.farm.registry, repository, Digest(digest))
            except (NotInRegistryError, ValueError) as error:
                raise _refused(image, f"its base {reference} cannot be read: {error}") from error
        return self._bases[reference]


def _media_type(manifest: bytes) -> str:
    """As the manifest names it; empty if it does not."""
    try:
        return str(json.loads(manifest).get("mediaType", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""


def _refused(image: Read, reason: str) -> UnsignableError:
    return UnsignableError(f"The image {image.repository}@{image.digest} is not signed: {reason}.")
