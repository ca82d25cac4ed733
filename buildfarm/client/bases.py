"""The bases that hosts should have, over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.releases.rollouts.views import AnnouncedBase

T = TypeVar("T")


def announced_bases() -> Call[list[AnnouncedBase]]:
    """All of them."""
    return Call("GET", "/v1/bases", wire.decoded(list[AnnouncedBase]))


def report_host(host: str, bases: Collection[str]) -> Call[list[AnnouncedBase]]:
    """Reports what a host has."""
    return Call("PUT", f"/v1/hosts/{host}", wire.decoded(list[AnnouncedBase]), body={"bases": sorted(bases)})


class Bases(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def announced_bases(self) -> list[AnnouncedBase]:
        """The bases that hosts which run apps should have, those that apps move to next first."""
        return self._ask(announced_bases())

    def report_host(self, host: str, bases: Collection[str]) -> list[AnnouncedBase]:
        """Reports which announced bases a host has; returns the announced ones. Raises RequestError."""
        return self._ask(report_host(host, bases))


class AsyncBases(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def announced_bases(self) -> list[AnnouncedBase]:
        """The bases that hosts which run apps should have, those that apps move to next first."""
        return await self._ask(announced_bases())

    async def report_host(self, host: str, bases: Collection[str]) -> list[AnnouncedBase]:
        """Reports which announced bases a host has; returns the announced ones. Raises RequestError."""
        return await self._ask(report_host(host, bases))
