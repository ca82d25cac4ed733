"""The sizes of apps' builds over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TypeVar

from buildfarm.client.calls import Call

T = TypeVar("T")


def app_size(tenant: str, app: str) -> Call[str]:
    """The size of an app's builds."""
    return Call("GET", f"/v1/apps/{tenant}/{app}/size", lambda answer: str(answer.json()["size"]))


def set_app_size(tenant: str, app: str, size: str) -> Call[str]:
    """Chooses another one."""
    return replace(app_size(tenant, app), method="PUT", body={"size": size})


class Sizes(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def app_size(self, tenant: str, app: str) -> str:
        """The size of the app's builds that ask for none."""
        return self._ask(app_size(tenant, app))

    def set_app_size(self, tenant: str, app: str, size: str) -> str:
        """Gives the app's builds from the next submit on this size. Raises RequestError."""
        return self._ask(set_app_size(tenant, app, size))


class AsyncSizes(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def app_size(self, tenant: str, app: str) -> str:
        """The size of the app's builds that ask for none."""
        return await self._ask(app_size(tenant, app))

    async def set_app_size(self, tenant: str, app: str, size: str) -> str:
        """Gives the app's builds from the next submit on this size. Raises RequestError."""
        return await self._ask(set_app_size(tenant, app, size))
