"""Credentials at rest: each value encrypted, and bound to its owner and to the address that it is for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import NodeError, RequestError
from buildfarm.seal import Seal
from buildfarm.sources.credentials import Credential, CredentialView, Kind, NewCredential
from buildfarm.sources.credentials.host_keys import fingerprint
from buildfarm.store.database import Database

CREDENTIALS_MAX = 100  # of a tenant with all of its apps
SEALED_BYTES_MAX = 524_288
_SHOWN = ("kind", "address", "user", "host_keys", "learned", "submodules")
_SHOWN_IF_SET = ("lfs",)  # versions without it read, and compare, the text of all others


@dataclass(frozen=True)
class CredentialStore:
    """The credentials of tenants and apps. Every method raises StoreError if Redis cannot be reached."""

    database: Database
    seal: Seal

    def of(self, tenant: str, app: str) -> tuple[Credential, ...]:
        """What a build of the app may fetch with. What cannot be decrypted has no value: most builds do not need it."""
        found = []
        for (owner, name), (shown, sealed) in self._read(tenant).items():
            if owner in ("", app):
                value = self._opened(_scope(tenant, owner, shown), name, sealed)
                known = {**shown, "kind": Kind(shown["kind"]), "host_keys": tuple(shown["host_keys"])}
                found.append(Credential(name=name, tenant=tenant, app=owner or None, value=value, **known))
        return tuple(found)

    def views(self, tenant: str) -> list[CredentialView]:
        """What is set for a tenant and for each of its apps. Needs no key."""
        return [
            CredentialView(
                name=name, tenant=tenant, app=owner or None,
                **{**shown, "host_keys": tuple(map(fingerprint, shown["host_keys"]))},
            )
            for (owner, name), (shown, _) in sorted(self._read(tenant).items())
        ]  # fmt: skip

    def change(self, tenant: str, app: str | None, name: str, new: NewCredential | None) -> None:
        """Sets a credential of a scope; None removes it.

        Raises RequestError if there is no key to encrypt it with, no room for it, or none of this name to remove.
        """
        if new is None and (app or "", name) not in self._read(tenant):
            raise RequestError(
                f"{_whose(tenant, app)} has no credential {name}.", advice="See buildfarm credentials list."
            )
        stored = ""
        if new is not None:
            shown = {"learned": False, **new.model_dump(mode="json", exclude={"value"})}
            stored = _joined(shown, self.seal.close(_scope(tenant, app or "", shown), {name: new.value}))
        place = _place(app, name)
        answer: Any = self.database.run(
            "variables", [self._key(tenant)], CREDENTIALS_MAX, SEALED_BYTES_MAX, place, stored
        )
        if answer:
            raise RequestError(
                f"There is no room for the credential {name}: {tenant} may have {CREDENTIALS_MAX} of them, and"
                f" {SEALED_BYTES_MAX:,} bytes when they are encrypted.",
                advice="Remove some with buildfarm credentials remove.",
            )

    def learn(self, credential: Credential, host_keys: Sequence[str]) -> bool:
        """Keeps a host's keys of the first connection; False if others are known, or the credential is gone."""
        place = (credential.app or "", credential.name)
        for _ in range(3):  # another attempt may be learning
            found = self._read(credential.tenant).get(place)
            if found is None or found[0]["address"] != credential.address:
                return False
            shown, sealed = found
            if shown["host_keys"]:
                return bool(set(host_keys) & set(shown["host_keys"]))
            now = _joined({**shown, "host_keys": list(host_keys), "learned": True}, sealed)
            keys = [self._key(credential.tenant)]
            if self.database.run("learn", keys, _place(*place), _joined(shown, sealed), now):
                return True
        return False

    def _opened(self, scope: str, name: str, sealed: str) -> str:
        try:
            return self.seal.open(scope, sealed).get(name, "")
        except NodeError:
            return ""

    def _read(self, tenant: str) -> dict[tuple[str, str], tuple[dict[str, Any], str]]:
        """By app (empty: the tenant's) and name: what is shown, and what is encrypted."""
        with self.database.failures():
            stored: Any = self.database.client.hgetall(self._key(tenant))
        found = {}
        for place, text in stored.items():
            app, _, name = place.rpartition(":")
            shown, _, sealed = text.rpartition(" ")
            known = json.loads(shown)
            found[app, name] = _fields(known), sealed
        return found

    def _key(self, tenant: str) -> str:
        return self.database.key("credentials", tenant)


def _joined(shown: dict[str, Any], sealed: str) -> str:
    return f"{json.dumps(_fields(shown), separators=(',', ':'))} {sealed}"


def _fields(known: dict[str, Any]) -> dict[str, Any]:
    """What of these is shown."""
    return {field: known[field] for field in _SHOWN} | {field: True for field in _SHOWN_IF_SET if known.get(field)}


def _place(app: str | None, name: str) -> str:
    return f"{app}:{name}" if app else name


def _scope(tenant: str, app: str, shown: dict[str, Any]) -> str:
    """What a value is bound to: moved to another address, it opens nothing. No build's id has such a form."""
    return f"credential of {tenant}/{app} for {shown['kind']} {shown['address']} {shown['user']}"


def _whose(tenant: str, app: str | None) -> str:
    return f"{tenant}/{app}" if app else tenant
