"""Releases and images in a repository of the registry."""

from __future__ import annotations

from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from buildfarm.errors import NotRebasableError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import ComposedImage
from buildfarm.oci.manifest import Manifest
from buildfarm.releases.base import Base
from buildfarm.releases.compose import compose
from buildfarm.releases.document import RELEASE_ANNOTATION, Encoded, decode, encode
from buildfarm.releases.release import Release

if TYPE_CHECKING:
    from buildfarm.oci.memory import Documents
    from buildfarm.oci.registry import Registry


def put_image(
    registry: Registry,
    repository: str,
    release: Release,
    base: Base,
    *,
    look: bool,
    there: Container[str] = frozenset(),
) -> ComposedImage:
    """Sends a build's release and its image on ``base``, side by side; all layers are in the repository.

    The registry is not asked for what is ``there``, and for other blobs only if ``look`` says that it may have them.
    Raises MissingBlobError if something is not there after all.
    """
    encoded, image = encode(release), compose(release, base)
    with ThreadPoolExecutor(1, "release") as side:
        known = encoded.digest in there
        sent = side.submit(_put_release, registry, repository, encoded, look=look, known=known)
        if Digest.of(image.config) not in there:
            registry.put_blob(repository, image.config, look=look)
        registry.put_manifest(repository, image.manifest, image.media_type, tag=None)
        sent.result()
    return image


def mount_base(registry: Registry, repository: str, base: Base, there: Container[str] = frozenset()) -> None:
    """Takes over into a repository what it lacks of the base's layers; those ``there`` are not asked for."""
    for layer in base.manifest.layers:
        if layer.digest in there or registry.mount(repository, layer.digest, base.repository):
            continue
        # This registry does not mount: the bytes travel once.
        if not registry.has_blob(repository, layer.digest):
            registry.put_blob(repository, registry.read_blob(base.repository, layer.digest, limit_bytes=layer.size))


def release_digest(manifest: Manifest) -> str:
    """The digest of an image's release; empty if the image names none."""
    return manifest.annotations.get(RELEASE_ANNOTATION, "")


def read_release(registry: Documents, repository: str, image: Manifest) -> Release:
    """The release that an image of this repository names.

    Raises RegistryError, and NotRebasableError if there is none or only another version of the farm can read it.
    """
    if not (digest := release_digest(image)):
        raise NotRebasableError(
            "The app's image has no release: an older version of the farm built it, or another tool.",
            advice="Build the app again; from then on its images can be moved to another base.",
        )
    try:
        manifest, _ = registry.read_manifest(repository, Digest(digest))
        return decode(manifest, registry.read_blob(repository, manifest.config.digest))
    except NotInRegistryError as error:
        raise NotRebasableError(
            f"The registry no longer has the release {digest} of the app's image.",
            advice="Build the app again, with --rebuild.",
        ) from error
    except ValueError as error:
        raise NotRebasableError(
            f"The release {digest[:80]} of the app's image cannot be read: {error}.",
            advice="Upgrade this process if a newer version of the farm built the app; else build it with --rebuild.",
        ) from error


def _put_release(registry: Registry, repository: str, encoded: Encoded, *, look: bool, known: bool) -> None:
    # That an image names its manifest proves less than for a blob, since the registry does not look at annotations. So
    # it is sent in any case, and is young again; the registry refuses it if its blobs are gone.
    if not known:
        registry.put_blob(repository, encoded.document, look=look)
    registry.put_manifest(repository, encoded.manifest, encoded.media_type, tag=None)
