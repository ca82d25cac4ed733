"""Config vars at rest: encrypted with the farm's key, so that Redis, its file and its copies reveal no secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import NodeError, RequestError, SettingsError

if TYPE_CHECKING:
    from cryptography import fernet
else:  # takes 14 ms; most commands meet no config vars
    fernet = LazyModule("cryptography.fernet")

_ADVICE = "Set BUILDFARM_FARM_KEY to the same key everywhere: `buildfarm up` makes one, docs/security.md says how."


@dataclass(frozen=True)
class Seal:
    """Encrypts and opens config vars (Fernet: AES-128-CBC and HMAC-SHA256, github.com/fernet/spec).

    ``keys`` are Fernet keys with commas between them: the first encrypts, all of them open. Empty: there is no key, and
    requests with config vars are refused.
    """

    keys: str

    def check(self) -> None:
        """Raises SettingsError if a key is not valid."""
        try:
            valid = all(len(base64.urlsafe_b64decode(_padded(key))) == 32 for key in self._list)
        except ValueError:
            valid = False
        if not valid:
            raise SettingsError("BUILDFARM_FARM_KEY is not a valid key: 32 bytes in URL-safe base64.", advice=_ADVICE)

    def close(self, build_id: str, env: Mapping[str, str]) -> str:
        """The encrypted form, bound to its build; empty for no config vars. Raises RequestError."""
        if not env:
            return ""
        if self._fernet is None:
            raise RequestError("This farm has no key, so it cannot accept config vars.", advice=_ADVICE)
        return self._fernet.encrypt(json.dumps([build_id, dict(env)]).encode()).decode()

    def open(self, build_id: str, sealed: str) -> dict[str, str]:
        """What `close` took. Raises NodeError if it cannot be read here, or belongs to another build."""
        try:
            owner, env = json.loads(self._fernet.decrypt(sealed)) if self._fernet else ("", {})
        except (fernet.InvalidToken, ValueError) as error:
            raise NodeError("The build's config vars cannot be decrypted on this node.", advice=_ADVICE) from error
        if owner != build_id:
            raise NodeError(
                "The build's config vars cannot be decrypted: there is no key, or they belong to another build."
            )
        return {str(name): str(value) for name, value in env.items()}

    def digest(self, content: bytes) -> str:
        """Return a digest that says nothing about the content to those without the key (HMAC-SHA256, hex).

        The first key makes it.
        """
        return _hmac(self._list[0] if self._list else "", content)

    def made(self, digest: str, content: bytes) -> bool:
        """Return whether this is the content's digest, by any of the keys: one may have been added since."""
        return any(hmac.compare_digest(_hmac(key, content), digest) for key in self._list or [""])

    @property
    def _list(self) -> list[str]:
        return [key.strip() for key in self.keys.split(",") if key.strip()]

    @cached_property
    def _fernet(self) -> fernet.MultiFernet | None:
        self.check()
        return fernet.MultiFernet([fernet.Fernet(_padded(key)) for key in self._list]) if self._list else None


def _padded(key: str) -> str:
    return key + "=" * (-len(key) % 4)


def _hmac(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()
