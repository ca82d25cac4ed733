"""Push hooks over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.sources.pushes.hook import HookView, NewHook

T = TypeVar("T")


def hooks(tenant: str | None) -> Call[list[HookView]]:
    """A tenant's, or all."""
    return Call("GET", "/v1/hooks", wire.decoded(list[HookView]), {"tenant": tenant} if tenant else {})


def make_hook(new: NewHook) -> Call[HookView]:
    """Makes one."""
    return Call("POST", "/v1/hooks", wire.decoded(HookView), body=new.model_dump(mode="json"))


def remove_hook(hook_id: str) -> Call[None]:
    """Removes one."""
    return Call("DELETE", f"/v1/hooks/{hook_id}", lambda _: None)


class Hooks(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def hooks(self, tenant: str | None = None) -> list[HookView]:
        """The push hooks of a tenant, or of all; without their secrets."""
        return self._ask(hooks(tenant))

    def make_hook(self, new: NewHook) -> HookView:
        """Makes a push hook and its secret, which is shown now alone. Raises RequestError."""
        return self._ask(make_hook(new))

    def remove_hook(self, hook_id: str) -> None:
        """Removes a push hook; its previews end. Raises NotFoundError."""
        self._ask(remove_hook(hook_id))


class AsyncHooks(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def hooks(self, tenant: str | None = None) -> list[HookView]:
        """The push hooks of a tenant, or of all; without their secrets."""
        return await self._ask(hooks(tenant))

    async def make_hook(self, new: NewHook) -> HookView:
        """Makes a push hook and its secret, which is shown now alone. Raises RequestError."""
        return await self._ask(make_hook(new))

    async def remove_hook(self, hook_id: str) -> None:
        """Removes a push hook; its previews end. Raises NotFoundError."""
        await self._ask(remove_hook(hook_id))
