"""Public keys of hosts, as known_hosts has them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Pure."""

from __future__ import annotations

import base64
import hashlib
import re

_TYPE = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+")
_MARKED = {"@revoked", "@cert-authority"}


def host_key(text: str) -> str:
    """A key without its host and comment: from a .pub file, known_hosts or ssh-keyscan. Raises ValueError."""
    words = text.split()
    at = next((number for number, word in enumerate(words) if _TYPE.fullmatch(word)), len(words))
    kind, content, *_ = [*words[at:], "", ""]
    blob = base64.b64decode(content, validate=True)
    # A key begins with the length and the name of its type (RFC 4253, section 6.6).
    if not kind or _MARKED & set(words) or blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode():
        raise ValueError("it is not a public key")
    return f"{kind} {content}"


def fingerprint(key: str) -> str:
    """A key as ``ssh-keygen -l`` shows it, with its type. Raises ValueError if it is not one."""
    kind, _, content = key.partition(" ")
    digest = hashlib.sha256(base64.b64decode(content, validate=True)).digest()
    return f"{kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
