"""Config vars at rest: encrypted with the farm's key, so that Redis, its file and its copies tell nobody's secrets."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from buildfarm.errors import NodeError, RequestError

_ADVICE = "Set BUILDFARM_FARM_KEY to the same key everywhere: `buildfarm up` makes one, docs/security.md says how."


@dataclass(frozen=True)
class Seal:
    """Encrypts and opens config vars (Fernet: AES-128-CBC and HMAC-SHA256, github.com/fernet/spec).

    ``keys`` are Fernet keys with commas between them: the first encrypts, all of them open. Empty: there is no key, and
    requests with config vars are refused.
    """

    keys: str

    def check(self) -> None:
        """Raises RequestError where the keys are none."""
        _ = self._fernet

    def close(self, build_id: str, env: Mapping[str, str]) -> str:
        """The encrypted form, bound to its build; empty for no config vars. Raises RequestError."""
        if not env:
            return ""
        if self._fernet is None:
            raise RequestError("This farm has no key, so it takes no config vars.", advice=_ADVICE)
        return self._fernet.encrypt(json.dumps([build_id, dict(env)]).encode()).decode()

    def open(self, build_id: str, sealed: str) -> dict[str, str]:
        """What `close` took. Raises NodeError where it cannot be read here, or belongs to another build."""
        try:
            owner, env = json.loads(self._fernet.decrypt(sealed)) if self._fernet else ("", {})
        except (InvalidToken, ValueError) as error:
            raise NodeError("The build's config vars cannot be decrypted on this node.", advice=_ADVICE) from error
        if owner != build_id:
            raise NodeError("The build's config vars cannot be opened: there is no key, or they are another build's.")
        return {str(name): str(value) for name, value in env.items()}

    def digest(self, content: bytes) -> str:
        """Tells equal contents, and nothing about them to who has no key (HMAC-SHA256, hex)."""
        return hmac.new(self.keys.encode(), content, hashlib.sha256).hexdigest()

    @cached_property
    def _fernet(self) -> MultiFernet | None:
        try:
            keys = [key.strip() for key in self.keys.split(",") if key.strip()]
            ciphers = [Fernet(key + "=" * (-len(key) % 4)) for key in keys]
        except ValueError as error:
            raise RequestError("BUILDFARM_FARM_KEY is no key.", advice="It has 32 bytes in URL-safe base64.") from error
        return MultiFernet(ciphers) if ciphers else None
