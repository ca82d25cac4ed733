"""Signed statements: an in-toto Statement in a DSSE envelope; no I/O.

Sources: github.com/secure-systems-lab/dsse, protocol.md; github.com/in-toto/attestation, spec/v1/statement.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import canonical_json
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.signer import Signer

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"


@dataclass(frozen=True)
class Statement:
    """What is said about an image: a predicate of a type, which is a URI."""

    subject: Digest
    predicate_type: str
    predicate: Mapping[str, Any]
    name: str = ""  # of the subject, for people

    @classmethod
    def parse(cls, content: bytes) -> Statement:
        """Raises ValueError if it is not a statement about one digest."""
        try:
            found = json.loads(content)
            [subject] = found["subject"]
            digest = Digest(f"sha256:{subject['digest']['sha256']}")
            return cls(digest, str(found["predicateType"]), found.get("predicate") or {}, str(subject.get("name", "")))
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
            raise ValueError("this is not an in-toto statement about one image") from error

    def encode(self) -> bytes:
        """The statement as canonical JSON."""
        subject = ({"name": self.name} if self.name else {}) | {"digest": {"sha256": self.subject.hex}}
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )


def signed_bytes(payload: bytes) -> bytes:
    """What a signature is made of: DSSE's pre-authentication encoding. Lengths are in bytes."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, signer: Signer) -> dict[str, object]:
    """Sign a statement. Raises SetupError."""
    signature = base64.b64encode(signer.sign(signed_bytes(payload))).decode()
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": signature}],
    }


def opened(envelope: Any, key: PublicKey) -> Statement:
    """Return the statement in an envelope. Raises ValueError unless this key signed it."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(item["sig"], validate=True) for item in envelope["signatures"]]
        kind = envelope["payloadType"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("this is not a DSSE envelope") from error
    if kind != PAYLOAD_TYPE or not any(key.made(signature, signed_bytes(payload)) for signature in signatures):
        raise ValueError("the statement was not signed by this key")
    return Statement.parse(payload)
