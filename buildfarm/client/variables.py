"""Build variables over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.config_vars.build_variables import BuildVariable, VariableView

T = TypeVar("T")

Changes = Mapping[str, BuildVariable | None]


def variables(tenant: str | None) -> Call[list[VariableView]]:
    """The farm's, and a tenant's."""
    return Call("GET", "/v1/variables", wire.decoded(list[VariableView]), {"tenant": tenant} if tenant else {})


def set_variables(changes: Changes, tenant: str | None, app: str | None) -> Call[list[VariableView]]:
    """Changes those of one scope."""
    values = {name: new.model_dump() if new else None for name, new in changes.items()}
    body = {"tenant": tenant, "app": app, "variables": values}
    return Call("PUT", "/v1/variables", wire.decoded(list[VariableView]), body=body)


class Variables(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def variables(self, tenant: str | None = None) -> list[VariableView]:
        """The build variables of the farm, and of a tenant and its apps; without their values."""
        return self._ask(variables(tenant))

    def set_variables(
        self, changes: Changes, *, tenant: str | None = None, app: str | None = None
    ) -> list[VariableView]:
        """Sets build variables of the farm, a tenant or an app; None removes one. Raises RequestError."""
        return self._ask(set_variables(changes, tenant, app))


class AsyncVariables(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def variables(self, tenant: str | None = None) -> list[VariableView]:
        """The build variables of the farm, and of a tenant and its apps; without their values."""
        return await self._ask(variables(tenant))

    async def set_variables(
        self, changes: Changes, *, tenant: str | None = None, app: str | None = None
    ) -> list[VariableView]:
        """Sets build variables of the farm, a tenant or an app; None removes one. Raises RequestError."""
        return await self._ask(set_variables(changes, tenant, app))
