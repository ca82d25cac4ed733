"""The documents of a move that the signer reads, as the process that makes the move has them already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from buildfarm.oci.digest import Digest
from buildfarm.oci.image import ComposedImage
from buildfarm.oci.manifest import Manifest
from buildfarm.releases.document import RELEASE_TYPE, encode
from buildfarm.releases.release import Release

Sent = Mapping[str, tuple[str, bytes]]  # media type and bytes, by digest


def documents_of(release: Release, before: Manifest, image: ComposedImage) -> Sent:
    """Return the manifests of the image and of the one before it, and the release.

    The signer fetches a document that was written in another way than this version does: its digest is another one.
    The image before can be anything that a node has pushed: it is left out if it cannot be written as JSON again.
    """
    encoded = encode(release)
    documents = [
        (image.media_type, image.manifest),
        (encoded.media_type, encoded.manifest),
        (RELEASE_TYPE, encoded.document),
    ]
    with suppress(ValueError):
        documents.append((before.media_type, before.encode()))
    return {str(Digest.of(content)): (kind, content) for kind, content in documents}
