"""Signatures at the tag ``sha256-<digest>.sig``, which podman, skopeo, CRI-O and Kyverno read; no I/O.

Source: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md; the payload is containers/image's "simple signing".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.signer import Signer

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
EMPTY = b"{}"  # as oci.image-spec has it for the config of what is not an image
# All that an image config must have, for registries that look: github.com/opencontainers/image-spec, config.md.
CONFIG = canonical_json({"architecture": "", "config": {}, "os": "", "rootfs": {"diff_ids": [], "type": "layers"}})
_TYPES = media_types("oci")


@dataclass(frozen=True)
class SimpleSignatures:
    """The manifest at the tag, and the one payload that all of the farm's signatures are of.

    Its config is the same for all images: the readers look at the layers alone, and a repository needs it just once.
    """

    payload: bytes
    manifest: bytes


def tag_of(digest: Digest) -> str:
    """The tag at which an image's signatures are."""
    return f"sha256-{digest.hex}.sig"


def payload_of(digest: Digest, reference: str) -> bytes:
    """What is signed. ``reference`` is ``host/repository:tag``: containers/image compares it with what is pulled."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return canonical_json({"critical": critical, "optional": None})


def simple_signatures(
    digest: Digest, reference: str, signers: Iterable[Signer], before: bytes | None = None
) -> SimpleSignatures:
    """Sign with every key. Signatures that are in the manifest ``before`` stay: the owner may have added theirs.

    Signing again with the same keys makes the same bytes: ``before``, if it has all the signatures. Raises ValueError
    if that is not a manifest, and SetupError.
    """
    payload = payload_of(digest, reference)
    old = Manifest.parse(before, _TYPES.manifest).layers if before else ()
    ours: list[Descriptor] = []
    for signer in signers:
        kept = next((layer for layer in old if _is_by(layer, signer.public_key, payload)), None)
        ours.append(kept or _layer(payload, signer.sign(payload)))
    layers = (*ours, *(layer for layer in old if layer not in ours))
    if before and layers == old:  # the config is another writer's
        return SimpleSignatures(payload, before)
    manifest = Manifest(_TYPES.manifest, Descriptor(_TYPES.config, Digest.of(CONFIG), len(CONFIG)), layers)
    return SimpleSignatures(payload, manifest.encode())


def readable(manifest: bytes | None) -> bytes | None:
    """The manifest of an image's signatures; None for anything else that is at its tag, such as another tool's form."""
    try:
        if manifest is not None and Manifest.parse(manifest, _TYPES.manifest):
            return manifest
    except (ValueError, TypeError, AttributeError):
        pass
    return None


def signature_of(layer: Descriptor) -> bytes:
    """The signature that a layer of the manifest carries; empty if it carries none."""
    try:
        return base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
    except ValueError:  # also of what is not ASCII
        return b""


def signed_image(payload: bytes) -> tuple[str, str]:
    """The repository and digest that a payload is about, without the registry's host; both empty if it is not one."""
    try:
        critical = json.loads(payload)["critical"]
        name = str(critical["identity"]["docker-reference"])
        return repository_of(name), str(critical["image"]["docker-manifest-digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def repository_of(name: str) -> str:
    """The repository in ``host/repository`` or ``host/repository:tag``. The host does not count: addresses change."""
    return name.partition("/")[2].partition("@")[0].partition(":")[0]


def _is_by(layer: Descriptor, key: PublicKey, payload: bytes) -> bool:
    return layer.digest == Digest.of(payload) and key.made(signature_of(layer), payload)


def _layer(payload: bytes, signature: bytes) -> Descriptor:
    annotations = {SIGNATURE: base64.b64encode(signature).decode()}
    return Descriptor(PAYLOAD_TYPE, Digest.of(payload), len(payload), annotations)
