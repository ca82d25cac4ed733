"""Apps' newest images over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.client.fleet import AsyncFleet, Fleet
from buildfarm.releases.models import AppImage, Rebase

T = TypeVar("T")


def app_image(tenant: str, app: str) -> Call[AppImage]:
    """An app's newest image."""
    return Call("GET", f"/v1/apps/{tenant}/{app}/image", wire.decoded(AppImage))


def rebase(tenant: str, app: str, base: str, *, dry_run: bool, older: bool) -> Call[Rebase]:
    """Moves it to another base."""
    body = {"base": base, "dry_run": dry_run, "older": older}
    return Call("POST", f"/v1/apps/{tenant}/{app}/rebase", wire.decoded(Rebase), body=body)


class Apps(Fleet):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def app_image(self, tenant: str, app: str) -> AppImage:
        """The app's newest image, its base, and its newest moves to other bases. Raises NotFoundError."""
        return self._ask(app_image(tenant, app))

    def rebase(self, tenant: str, app: str, *, base: str = "", dry_run: bool = False, older: bool = False) -> Rebase:
        """Moves the app's newest image to its channel's base, or to ``base``, without a build."""
        return self._ask(rebase(tenant, app, base, dry_run=dry_run, older=older))


class AsyncApps(AsyncFleet):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def app_image(self, tenant: str, app: str) -> AppImage:
        """The app's newest image, its base, and its newest moves to other bases. Raises NotFoundError."""
        return await self._ask(app_image(tenant, app))

    async def rebase(
        self, tenant: str, app: str, *, base: str = "", dry_run: bool = False, older: bool = False
    ) -> Rebase:
        """Moves the app's newest image to its channel's base, or to ``base``, without a build."""
        return await self._ask(rebase(tenant, app, base, dry_run=dry_run, older=older))
