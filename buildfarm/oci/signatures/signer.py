"""What signs: a key in a file, or a command that reaches one in a KMS or an HSM."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from buildfarm import LazyModule
from buildfarm.errors import RequestError, SettingsError, SetupError
from buildfarm.oci.signatures.keys import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
else:  # as in `keys`
    hashes = LazyModule("cryptography.hazmat.primitives.hashes")
    serialization = LazyModule("cryptography.hazmat.primitives.serialization")
    ec = LazyModule("cryptography.hazmat.primitives.asymmetric.ec")

_COMMAND_SECONDS = 20.0


class Signer(Protocol):
    """Makes signatures with one key."""

    @property
    def public_key(self) -> PublicKey:
        """The key that checks them."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether the same content always gets the same signature."""
        ...

    def sign(self, content: bytes) -> bytes:
        """Return the signature of the content in DER form. Raises SetupError."""
        ...


@dataclass(frozen=True)
class FileSigner:
    """A private key in memory. The same content always gets the same signature (RFC 6979)."""

    private_key: ec.EllipticCurvePrivateKey
    public_key: PublicKey
    repeats: bool = True

    @classmethod
    def load(cls, path: Path) -> FileSigner:
        """Read a key in PEM form, without a password. Raises SettingsError if the file is not one."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise SettingsError(f"The signing key in {path} is not an ECDSA key.")
            return cls(key, PublicKey.of(key.public_key()))
        except OSError as error:
            raise SettingsError(
                f"The signing key in {path} cannot be read: {error.strerror}.",
                advice="Only the signer may read it: its user must own the file.",
            ) from error
        except (ValueError, TypeError, RequestError) as error:
            advice = "It must be an ECDSA key on P-256, in PEM form and without a password."
            raise SettingsError(f"{path} is not a signing key.", advice=advice) from error

    def sign(self, content: bytes) -> bytes:
        """Return the signature in DER form."""
        return self.private_key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


@dataclass(frozen=True)
class CommandSigner:
    """A command that signs: ``COMMAND public-key`` prints PEM, ``COMMAND sign`` reads the content and writes DER."""

    command: Sequence[str]
    public_key: PublicKey
    repeats: bool = False

    @classmethod
    def start(cls, command: Sequence[str]) -> CommandSigner:
        """Read the public key. Raises SetupError."""
        try:
            return cls(command, PublicKey.parse(_run([*command, "public-key"], b"")))
        except RequestError as error:
            raise SetupError(f"The signing command printed no usable public key. {error.message}") from error

    def sign(self, content: bytes) -> bytes:
        """Return the signature in DER form, checked. Raises SetupError."""
        signature = _run([*self.command, "sign"], content)
        if not self.public_key.made(signature, content):
            raise SetupError(
                "The signing command wrote something other than a signature of the content by its key.",
                advice="It must write the ECDSA signature in DER form. PKCS#11 returns r and s: convert them.",
            )
        return signature


def open_signer(address: str) -> Signer:
    """Open ``file:PATH`` or ``exec:COMMAND ARGUMENTS``. Raises SettingsError and SetupError."""
    kind, _, rest = address.partition(":")
    if kind == "file" and rest:
        return FileSigner.load(Path(rest))
    if kind == "exec" and (command := shlex.split(rest)):
        return CommandSigner.start(command)
    raise SettingsError("BUILDFARM_SIGNING_KEYS must name keys as file:PATH or exec:COMMAND.")


def new_key() -> bytes:
    """Make a private key on P-256, in PEM form (PKCS #8)."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(encoding, form, serialization.NoEncryption())


def _run(command: Sequence[str], content: bytes) -> bytes:
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"The signing command {command[0]} cannot be run: {type(error).__name__}.") from error
    if done.returncode:
        raise SetupError(
            f"The signing command {command[0]} ended with {done.returncode}.",
            advice="Run it by hand as the signer's user: it writes the reason to its standard error.",
        )
    return done.stdout
