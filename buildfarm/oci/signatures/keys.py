"""Public keys that signatures are checked with: ECDSA on the curve P-256, with SHA-256."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    from cryptography import exceptions
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
else:  # most commands sign and check nothing
    exceptions = LazyModule("cryptography.exceptions")
    hashes = LazyModule("cryptography.hazmat.primitives.hashes")
    serialization = LazyModule("cryptography.hazmat.primitives.serialization")
    ec = LazyModule("cryptography.hazmat.primitives.asymmetric.ec")


@dataclass(frozen=True)
class PublicKey:
    """A public key. ``der`` is its SubjectPublicKeyInfo (RFC 5280, section 4.1)."""

    der: bytes

    @classmethod
    def parse(cls, pem: bytes) -> PublicKey:
        """Read a PEM file. Raises RequestError if it is not a public key on P-256."""
        try:
            key = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise RequestError("This is not a public key in PEM form.", advice=_ADVICE) from error
        return cls.of(key)

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Take a loaded key. Raises RequestError if it is not on P-256."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise RequestError("The key is not an ECDSA key on the curve P-256.", advice=_ADVICE)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return cls(key.public_bytes(serialization.Encoding.DER, form))

    @property
    def pem(self) -> str:
        """The key as cosign, skopeo and Kyverno read it."""
        text = base64.b64encode(self.der).decode()
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])

    @property
    def hint(self) -> str:
        """What a bundle names the key by: base64 of the SHA-256 of its DER form (sigstore, cosign 2.5 and 3.1)."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    def made(self, signature: bytes, content: bytes) -> bool:
        """Return whether the private key of this one signed the content; ``signature`` is in DER form."""
        try:
            self._key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        except exceptions.InvalidSignature:
            return False
        return True

    @cached_property
    def _key(self) -> ec.EllipticCurvePublicKey:
        key = serialization.load_der_public_key(self.der)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise RequestError("The key is not an ECDSA key on the curve P-256.", advice=_ADVICE)
        return key


_ADVICE = "Make a pair with: openssl ecparam -genkey -name prime256v1 | openssl pkcs8 -topk8 -nocrypt -out signing.key"
