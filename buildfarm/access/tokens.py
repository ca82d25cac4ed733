"""Tokens of the API: who may do what. The farm keeps their SHA-256 and shows each once.

A token reads ``bf_<id>_<secret>``: the prefix lets scanners find leaked ones, the id finds its record, the secret is
32 random bytes in base64url. In a farm that is a cell among several, its name and a dash precede the id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from buildfarm.errors import NotFoundError, RequestError
from buildfarm.fields import NAME_PATTERN
from buildfarm.model import IMAGES, RESERVED
from buildfarm.settings import CELL_NAME
from buildfarm.store.database import Database

LIVE_MAX = 2  # of one tenant and name: the old one and the new one while they are changed
DAYS_MAX = 90

_FORM = re.compile(rf"bf_(?:{CELL_NAME}-)?([0-9a-f]{{16}})_[A-Za-z0-9_-]{{43}}")
_SECRET_BYTES = 32
_SESSION_SECONDS = 12 * 3600


class Scope(StrEnum):
    """What a token lets its holder do."""

    READ = "read"  # look at builds, their logs and the queue
    SUBMIT = "submit"  # send sources, submit and cancel builds
    ADMIN = "admin"  # nodes, limits, the builder: of tokens for all tenants only


@dataclass(frozen=True)
class Token:
    """A token's record; ``tenant`` is None of one that stands for all tenants. Times are seconds since the epoch."""

    id: str
    tenant: str | None
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class Tokens:
    """All tokens. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    cell: str = ""  # whose tokens are made; a proxy sends their holders to it

    def make(self, tenant: str | None, name: str, scopes: Collection[Scope], days: float) -> tuple[str, Token]:
        """A new token: the text that its holder shows, which is kept nowhere, and its record.

        Raises RequestError if a field is not valid, or if two tokens of this tenant and name are active.
        """
        _check(tenant, name, scopes, days)
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)
        text = f"bf_{self.cell}{'-' if self.cell else ''}{token_id}_{secret}"
        fields = ("sha256", _sha256(text), "scopes", " ".join(sorted(scopes)))
        prefix = self.database.key("token", "")
        made = self.database.run(
            "token", [prefix + token_id, self.database.key("tokens")],
            token_id, tenant or "", name, int(days * 86_400), LIVE_MAX, prefix, *fields,
        )  # fmt: skip
        if not made:
            raise RequestError(
                f"There are already two active tokens named {name!r} of {tenant or 'the operators'}.",
                advice="Revoke the old one (buildfarm tokens list), or choose another name.",
            )
        return text, self.get(token_id)

    def get(self, token_id: str) -> Token:
        """Raises NotFoundError if there is none, or if it has expired or was revoked."""
        return _decode(token_id, self._fields(token_id))

    def verify(self, text: str) -> Token | None:
        """The record of a token that was shown; None if it is unknown or no longer valid."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("token", form[1]))  # type: ignore[assignment]
        # Compared also if there is no record, so that timing reveals nothing.
        same = hmac.compare_digest(fields.get("sha256", ""), _sha256(text))
        return _usable(_decode(form[1], fields)) if fields and same else None

    def all(self) -> list[Token]:
        """Those that live, the newest last."""
        with self.database.failures():
            ids: list[str] = self.database.client.zrange(self.database.key("tokens"), 0, -1)  # type: ignore[assignment]
            pipeline = self.database.client.pipeline(transaction=False)
            for token_id in ids:
                pipeline.hgetall(self.database.key("token", token_id))
            found: list[dict[str, str]] = pipeline.execute()
        live = [_decode(token_id, fields) for token_id, fields in zip(ids, found, strict=True) if fields]
        return sorted(live, key=lambda token: token.created_at)

    def revoke(self, token_id: str) -> Token:
        """The token is invalid from now on. Raises NotFoundError."""
        token = self.get(token_id)
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.delete(self.database.key("token", token_id))
            pipeline.zrem(self.database.key("tokens"), token_id)
            pipeline.execute()
        return token

    def open_session(self, token: Token) -> str:
        """A session of the page: what the browser keeps instead of the token. It ends with the token."""
        session = secrets.token_urlsafe(_SECRET_BYTES)
        with self.database.failures():
            self.database.client.set(self._session(session), token.id, ex=_SESSION_SECONDS)
        return session

    def session(self, session: str) -> Token | None:
        """The token behind a session; None where either has ended."""
        with self.database.failures():
            token_id = self.database.client.get(self._session(session))
        if not token_id:
            return None
        try:
            return _usable(self.get(str(token_id)))
        except NotFoundError:
            return None

    def close_session(self, session: str) -> None:
        """The browser signed out."""
        with self.database.failures():
            self.database.client.delete(self._session(session))

    def _session(self, session: str) -> str:
        return self.database.key("session", _sha256(session))

    def _fields(self, token_id: str) -> dict[str, str]:
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("token", token_id))  # type: ignore[assignment]
        if not fields:
            raise NotFoundError(
                f"There is no token {token_id[:80]}.", advice="buildfarm tokens list shows the active ones."
            )
        return fields


def _check(tenant: str | None, name: str, scopes: Collection[Scope], days: float) -> None:
    if tenant is not None and not re.fullmatch(NAME_PATTERN, tenant):
        raise RequestError(
            f"{tenant[:80]!r} is not a valid tenant name: use 1 to 30 lower-case letters, digits and dashes."
        )
    if tenant == IMAGES:
        raise RequestError(RESERVED, advice="Choose another name for the tenant.")
    if not re.fullmatch(NAME_PATTERN, name):
        raise RequestError(
            f"{name[:80]!r} is not a valid token name: use 1 to 30 lower-case letters, digits and dashes."
        )
    if not scopes:
        raise RequestError("A token needs at least one scope.", advice="Give it read, submit or admin.")
    if Scope.ADMIN in scopes and tenant is not None:
        raise RequestError("The scope admin is for operators only: a token for one tenant cannot have it.")
    if not 0 < days <= DAYS_MAX:
        raise RequestError(
            f"A token is valid for at most {DAYS_MAX} days.", advice="Make the next one before it expires."
        )


def _usable(token: Token) -> Token | None:
    """A tenant may have had this name before it was reserved: its tokens are no longer valid."""
    return None if token.tenant == IMAGES else token


def _decode(token_id: str, fields: dict[str, str]) -> Token:
    return Token(
        id=token_id,
        tenant=fields["tenant"] or None,
        name=fields["name"],
        scopes=frozenset(Scope(scope) for scope in fields["scopes"].split()),
        created_at=float(fields["created_at"]),
        expires_at=float(fields["expires_at"]),
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
