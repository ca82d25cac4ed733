"""What is in images over HTTP: the calls, and both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.releases.facts.components.models import Contents, Places

T = TypeVar("T")


def sbom(image: str, form: str, *, with_base: bool) -> Call[bytes]:
    """An image's bill of materials."""
    parameters = {"image": image, "format": form, "with_base": with_base}
    return Call("GET", "/v1/sbom", lambda answer: answer.content, parameters)


def contents(image: str, *, with_base: bool) -> Call[Contents]:
    """Its components."""
    return Call("GET", "/v1/components", wire.decoded(Contents), {"image": image, "with_base": with_base})


def where(expression: str, limit: int) -> Call[Places]:
    """Which apps have a component."""
    return Call("GET", "/v1/where", wire.decoded(Places), {"expression": expression, "limit": limit})


class Components(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def sbom(self, image: str, *, form: str = "cyclonedx", with_base: bool = False) -> bytes:
        """An image's bill of materials, as CycloneDX or SPDX (``form``). Raises NotFoundError and NotReadYetError."""
        return self._ask(sbom(image, form, with_base=with_base))

    def contents(self, image: str, *, with_base: bool = False) -> Contents:
        """An image's components. Raises NotFoundError and NotReadYetError."""
        return self._ask(contents(image, with_base=with_base))

    def where(self, expression: str, *, limit: int = 1000) -> Places:
        """Which apps' newest images have a component, such as npm/lodash@<4.17.21. Raises RequestError."""
        return self._ask(where(expression, limit))


class AsyncComponents(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def sbom(self, image: str, *, form: str = "cyclonedx", with_base: bool = False) -> bytes:
        """An image's bill of materials, as CycloneDX or SPDX (``form``). Raises NotFoundError and NotReadYetError."""
        return await self._ask(sbom(image, form, with_base=with_base))

    async def contents(self, image: str, *, with_base: bool = False) -> Contents:
        """An image's components. Raises NotFoundError and NotReadYetError."""
        return await self._ask(contents(image, with_base=with_base))

    async def where(self, expression: str, *, limit: int = 1000) -> Places:
        """Which apps' newest images have a component, such as npm/lodash@<4.17.21. Raises RequestError."""
        return await self._ask(where(expression, limit))
