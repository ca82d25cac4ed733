"""Channels over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.releases.models import AppChannel, Channel, ChannelHistory

T = TypeVar("T")


def channels() -> Call[list[Channel]]:
    """All of them."""
    return Call("GET", "/v1/channels", wire.decoded(list[Channel]))


def channel(name: str) -> Call[ChannelHistory]:
    """One with its newest changes."""
    return Call("GET", f"/v1/channels/{name}", wire.decoded(ChannelHistory))


def set_channel(name: str, base: str, reason: str) -> Call[str]:
    """Points it to a base."""
    body = {"base": base, "reason": reason}
    return Call("PUT", f"/v1/channels/{name}", lambda answer: str(answer.json()["base"]), body=body)


def remove_channel(name: str, reason: str) -> Call[str]:
    """Forgets it."""
    parameters = {"reason": reason} if reason else {}
    return Call("DELETE", f"/v1/channels/{name}", lambda answer: str(answer.json()["base"]), parameters)


def app_channel(tenant: str, app: str) -> Call[AppChannel]:
    """What an app follows."""
    return Call("GET", f"/v1/apps/{tenant}/{app}/channel", wire.decoded(AppChannel))


def set_app_channel(tenant: str, app: str, name: str) -> Call[AppChannel]:
    """Makes it follow another one."""
    return replace(app_channel(tenant, app), method="PUT", body={"channel": name})


class Channels(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def channels(self) -> list[Channel]:
        """The bases that apps may follow, stable first."""
        return self._ask(channels())

    def channel(self, name: str) -> ChannelHistory:
        """A channel and its newest changes. Raises NotFoundError."""
        return self._ask(channel(name))

    def set_channel(self, name: str, base: str, *, reason: str = "") -> str:
        """Points a channel to repository:tag or repository@digest, or makes one. Raises RequestError."""
        return self._ask(set_channel(name, base, reason))

    def remove_channel(self, name: str, *, reason: str = "") -> str:
        """Forgets a channel, and returns its base. Raises RequestError if apps follow it."""
        return self._ask(remove_channel(name, reason))

    def app_channel(self, tenant: str, app: str) -> AppChannel:
        """The channel that an app follows, and the base of its next build."""
        return self._ask(app_channel(tenant, app))

    def set_app_channel(self, tenant: str, app: str, channel: str) -> AppChannel:
        """The app's builds stand on this channel's base from the next one on. Raises NotFoundError."""
        return self._ask(set_app_channel(tenant, app, channel))


class AsyncChannels(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def channels(self) -> list[Channel]:
        """The bases that apps may follow, stable first."""
        return await self._ask(channels())

    async def channel(self, name: str) -> ChannelHistory:
        """A channel and its newest changes. Raises NotFoundError."""
        return await self._ask(channel(name))

    async def set_channel(self, name: str, base: str, *, reason: str = "") -> str:
        """Points a channel to repository:tag or repository@digest, or makes one. Raises RequestError."""
        return await self._ask(set_channel(name, base, reason))

    async def remove_channel(self, name: str, *, reason: str = "") -> str:
        """Forgets a channel, and returns its base. Raises RequestError if apps follow it."""
        return await self._ask(remove_channel(name, reason))

    async def app_channel(self, tenant: str, app: str) -> AppChannel:
        """The channel that an app follows, and the base of its next build."""
        return await self._ask(app_channel(tenant, app))

    async def set_app_channel(self, tenant: str, app: str, channel: str) -> AppChannel:
        """The app's builds stand on this channel's base from the next one on. Raises NotFoundError."""
        return await self._ask(set_app_channel(tenant, app, channel))
