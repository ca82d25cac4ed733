"""Whether an image in a registry is signed, and what is stated about it: `buildfarm verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from buildfarm.errors import SignatureError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import bundle, referrers, simple
from buildfarm.oci.signatures.attaching import bundles_of
from buildfarm.oci.signatures.dsse import COSIGN_SIGN, Statement
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.provenance import PROVENANCE, Provenance


@dataclass(frozen=True)
class Verified:
    """An image whose signature is valid."""

    digest: Digest
    forms: tuple[str, ...]  # in which it is signed: tag, bundle
    statements: tuple[str, ...]  # the types of what else is stated about it, by the same keys
    provenance: tuple[Provenance, ...] = ()  # the oldest first


def verify(registry: Registry, repository: str, reference: str, keys: Sequence[PublicKey]) -> Verified:
    """Check the image under a tag or digest: one of the keys must have signed it, for this repository.

    Signatures that came here with an image of another repository do not count. A statement of another type, such as
    provenance, is not a signature. Raises SignatureError if no signature is valid, and RegistryError.
    """
    _, _, digest = registry.get_manifest(repository, reference)
    statements = list(_statements(registry, repository, digest, keys))
    types = {one.predicate_type for one in statements}
    forms = [
        *(["tag"] if _is_signed_by_tag(registry, repository, digest, keys) else []),
        *(["bundle"] if COSIGN_SIGN in types else []),
    ]
    if not forms:
        raise SignatureError(f"{repository}@{digest} has no signature by a key that was given.")
    made = tuple(Provenance(one.predicate) for one in statements if one.predicate_type == PROVENANCE)
    return Verified(digest, tuple(forms), tuple(sorted(types - {COSIGN_SIGN})), made)


def is_signed(registry: Registry, repository: str, digest: Digest, keys: Sequence[PublicKey]) -> bool:
    """Return whether one of the keys has signed the image for this repository, in either form. Raises RegistryError."""
    return _is_signed_by_tag(registry, repository, digest, keys) or any(
        one.predicate_type == COSIGN_SIGN for one in _statements(registry, repository, digest, keys)
    )


def check_content(registry: Registry, repository: str, digest: Digest) -> int:
    """Read the image's config and layers, and compare them with its manifest. Return their bytes.

    Raises SignatureError if the manifest is not that of an image, and RegistryError if content is missing or changed.
    """
    try:
        manifest, _ = registry.read_manifest(repository, digest)
    except ValueError as error:
        raise SignatureError(f"{repository}@{digest} is not an image: {error}.") from error
    total = 0
    for part in (manifest.config, *manifest.layers):
        total += sum(len(piece) for piece in registry.get_blob(repository, part.digest, limit_bytes=part.size))
    return total


def _is_signed_by_tag(registry: Registry, repository: str, digest: Digest, keys: Sequence[PublicKey]) -> bool:
    try:
        manifest, _ = registry.read_manifest(repository, simple.tag_of(digest))
    except (NotInRegistryError, ValueError):
        return False
    for layer in manifest.layers:
        if layer.media_type == simple.PAYLOAD_TYPE and (signature := simple.signature_of(layer)):
            try:
                payload = registry.read_blob(repository, layer.digest)
            except NotInRegistryError:
                continue
            signed = simple.signed_image(payload)
            if signed == (repository, digest) and any(key.made(signature, payload) for key in keys):
                return True
    return False


def _statements(registry: Registry, repository: str, digest: Digest, keys: Sequence[PublicKey]) -> Iterator[Statement]:
    """The statements about this image in this repository that one of the keys signed, each once."""
    try:
        _, index, _ = registry.get_manifest(repository, referrers.tag_of(digest))
        found = list(bundles_of(registry, repository, index))
    except (NotInRegistryError, ValueError):
        return
    told: list[Statement] = []
    for one in found:
        for key in keys:
            try:
                statement = bundle.opened(one.blob, key)
            except ValueError:
                continue
            named = simple.repository_of(statement.name) == repository
            if statement.subject == digest and named and statement not in told:  # each key signs the same one
                told.append(statement)
                yield statement
