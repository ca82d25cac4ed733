"""Limits, retention and images in use over HTTP: both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TypeVar

from buildfarm.client import keeping_calls as kept
from buildfarm.client.calls import Call
from buildfarm.gc.retention import InUse, Retention, Rollback
from buildfarm.queue.view import Limits

T = TypeVar("T")


class Keeping(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def limits(self, tenant: str, app: str | None = None) -> Limits:
        """What a tenant may have running and waiting, and this app of it."""
        return self._ask(kept.limits(tenant, app))

    def limits_set(self) -> dict[str, int]:
        """The limits that were set, as "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        return self._ask(kept.limits_set())

    def set_limits(
        self, tenant: str, app: str | None = None, *, sizes: Sequence[str] | None = (), **values: int | None
    ) -> Limits:
        """Sets ``running``, and of a tenant ``waiting``, ``bytes`` and ``sizes``; None: as the settings. RequestError.

        Without ``sizes`` they stay as they are.
        """
        return self._ask(kept.set_limits(tenant, app, values, sizes))

    def usage(self, tenant: str) -> dict[str, int]:
        """The tenant's bytes in the registry: ``sources``, ``caches``, ``apps`` and ``archive``."""
        return self._ask(kept.usage(tenant))

    def retention(self, tenant: str, app: str | None = None) -> Retention:
        """What of a tenant, or of one of its apps, stays how long."""
        return self._ask(kept.retention(tenant, app))

    def retention_set(self) -> dict[str, float]:
        """The values that were set, as "tenant:images" and "tenant/app:image_days"."""
        return self._ask(kept.retention_set())

    def set_retention(self, tenant: str, app: str | None = None, **values: float | None) -> Retention:
        """Sets fields of a policy; None goes back to the tenant's or the settings'. Raises RequestError."""
        return self._ask(kept.set_retention(tenant, app, values))

    def roll_back(self, build_id: str, *, seen: str = "") -> Rollback:
        """Points the app's tag at the image of an earlier build, until a newer one publishes its own.

        With ``seen``, only if it points to that digest now. Raises NotFoundError, ConflictError and RequestError.
        """
        return self._ask(kept.roll_back(build_id, seen))

    def signing_keys(self) -> tuple[str, ...]:
        """The public keys of the farm's signer, in PEM form; none if it never ran."""
        return self._ask(kept.signing_keys())

    def images_in_use(self) -> list[InUse]:
        """The images that are reported as running, by reporter."""
        return self._ask(kept.images_in_use())

    def report_in_use(self, images: Collection[str], *, days: float = 3, reporter: str = "orchestrator") -> InUse:
        """Replaces a reporter's running images, by digest or reference; they stay for so many days. RequestError."""
        return self._ask(kept.report_in_use(images, days, reporter))


class AsyncKeeping(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def limits(self, tenant: str, app: str | None = None) -> Limits:
        """What a tenant may have running and waiting, and this app of it."""
        return await self._ask(kept.limits(tenant, app))

    async def limits_set(self) -> dict[str, int]:
        """The limits that were set, as "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        return await self._ask(kept.limits_set())

    async def set_limits(
        self, tenant: str, app: str | None = None, *, sizes: Sequence[str] | None = (), **values: int | None
    ) -> Limits:
        """Sets ``running``, and of a tenant ``waiting``, ``bytes`` and ``sizes``; None: as the settings. RequestError.

        Without ``sizes`` they stay as they are.
        """
        return await self._ask(kept.set_limits(tenant, app, values, sizes))

    async def usage(self, tenant: str) -> dict[str, int]:
        """The tenant's bytes in the registry: ``sources``, ``caches``, ``apps`` and ``archive``."""
        return await self._ask(kept.usage(tenant))

    async def retention(self, tenant: str, app: str | None = None) -> Retention:
        """What of a tenant, or of one of its apps, stays how long."""
        return await self._ask(kept.retention(tenant, app))

    async def retention_set(self) -> dict[str, float]:
        """The values that were set, as "tenant:images" and "tenant/app:image_days"."""
        return await self._ask(kept.retention_set())

    async def set_retention(self, tenant: str, app: str | None = None, **values: float | None) -> Retention:
        """Sets fields of a policy; None goes back to the tenant's or the settings'. Raises RequestError."""
        return await self._ask(kept.set_retention(tenant, app, values))

    async def roll_back(self, build_id: str, *, seen: str = "") -> Rollback:
        """Points the app's tag at the image of an earlier build, until a newer one publishes its own.

        With ``seen``, only if it points to that digest now. Raises NotFoundError, ConflictError and RequestError.
        """
        return await self._ask(kept.roll_back(build_id, seen))

    async def signing_keys(self) -> tuple[str, ...]:
        """As `Client`'s."""
        return await self._ask(kept.signing_keys())

    async def images_in_use(self) -> list[InUse]:
        """The images that are reported as running, by reporter."""
        return await self._ask(kept.images_in_use())

    async def report_in_use(self, images: Collection[str], *, days: float = 3, reporter: str = "orchestrator") -> InUse:
        """Replaces a reporter's running images, by digest or reference; they stay for so many days. RequestError."""
        return await self._ask(kept.report_in_use(images, days, reporter))
