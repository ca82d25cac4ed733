"""Credentials over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.sources.credentials import CredentialView, NewCredential

T = TypeVar("T")


def credentials(tenant: str) -> Call[list[CredentialView]]:
    """A tenant's and its apps'."""
    return Call("GET", "/v1/credentials", wire.decoded(list[CredentialView]), {"tenant": tenant})


def set_credential(name: str, new: NewCredential | None, tenant: str, app: str | None) -> Call[list[CredentialView]]:
    """Sets or removes one."""
    # Without defaults, so that an older API takes all that it knows.
    credential = new.model_dump(mode="json", exclude_defaults=True) if new else None
    body = {"name": name, "tenant": tenant, "app": app, "credential": credential}
    return Call("PUT", "/v1/credentials", wire.decoded(list[CredentialView]), body=body)


class Credentials(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def credentials(self, tenant: str) -> list[CredentialView]:
        """The credentials of a tenant and its apps; without their values."""
        return self._ask(credentials(tenant))

    def set_credential(
        self, name: str, new: NewCredential | None, *, tenant: str, app: str | None = None
    ) -> list[CredentialView]:
        """Sets a credential of a tenant or an app, or replaces it; None removes it. Raises RequestError."""
        return self._ask(set_credential(name, new, tenant, app))


class AsyncCredentials(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def credentials(self, tenant: str) -> list[CredentialView]:
        """The credentials of a tenant and its apps; without their values."""
        return await self._ask(credentials(tenant))

    async def set_credential(
        self, name: str, new: NewCredential | None, *, tenant: str, app: str | None = None
    ) -> list[CredentialView]:
        """Sets a credential of a tenant or an app, or replaces it; None removes it. Raises RequestError."""
        return await self._ask(set_credential(name, new, tenant, app))
