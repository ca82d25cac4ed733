"""Sigstore bundles v0.3 as OCI referrers, which cosign 3 and npm's sigstore read; no I/O.

Sources: github.com/sigstore/cosign, specs/BUNDLE_SPEC.md; github.com/sigstore/protobuf-specs, sigstore_bundle.proto;
OCI image-spec v1.1, manifest.md, "Guidelines for Artifact Usage". Neither carries a time, so that signing again makes
the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import MANIFEST_TYPES, Descriptor, canonical_json
from buildfarm.oci.signatures import dsse
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.signer import Signer
from buildfarm.oci.signatures.simple import EMPTY

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_CONTENT, _PREDICATE = "dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True)
class Bundle:
    """A signed statement as a blob, and the manifest by which it refers to its image."""

    blob: bytes
    manifest: bytes
    annotations: Mapping[str, str]

    @classmethod
    def sign(cls, statement: dsse.Statement, subject: Descriptor, signer: Signer) -> Bundle:
        """``subject`` is the image's manifest. Raises SetupError."""
        blob = canonical_json(
            {
                "mediaType": BUNDLE_TYPE,
                "verificationMaterial": {"publicKey": {"hint": signer.public_key.hint}},
                "dsseEnvelope": dsse.envelope(statement.encode(), signer),
            }
        )
        annotations = {_CONTENT: "dsse-envelope", _PREDICATE: statement.predicate_type}
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPES["oci"],
                "artifactType": BUNDLE_TYPE,
                "config": Descriptor(EMPTY_TYPE, Digest.of(EMPTY), len(EMPTY)).to_json(),
                "layers": [Descriptor(BUNDLE_TYPE, Digest.of(blob), len(blob)).to_json()],
                "subject": subject.to_json(),
                "annotations": annotations,
            }
        )
        return cls(blob, manifest, annotations)

    @property
    def entry(self) -> dict[str, object]:
        """How an index of referrers lists it (distribution-spec, "Referrers Tag Schema")."""
        listed = Descriptor(MANIFEST_TYPES["oci"], Digest.of(self.manifest), len(self.manifest), self.annotations)
        return listed.to_json() | {"artifactType": BUNDLE_TYPE}


def opened(blob: bytes, key: PublicKey) -> dsse.Statement:
    """Return the statement in a bundle. Raises ValueError unless this key signed it."""
    try:
        envelope = json.loads(blob)["dsseEnvelope"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("this is not a Sigstore bundle with a statement") from error
    return dsse.opened(envelope, key)
