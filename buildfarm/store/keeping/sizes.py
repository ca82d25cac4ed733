"""Which sizes tenants may use, which ones apps have chosen, and whether a request gets what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import NotFoundError, NotServedError, RequestError
from buildfarm.model import BuildRequest, Request
from buildfarm.node import Node, NodeState
from buildfarm.queue.names import STANDARD
from buildfarm.queue.sizes import larger, sizes_of
from buildfarm.settings import Settings
from buildfarm.store.database import Database


@dataclass(frozen=True)
class SizeRules:
    """Sizes by tenant and app. Every method raises StoreError if Redis cannot be reached."""

    database: Database
    settings: Settings
    nodes: Callable[[], Iterable[Node]]

    def allowed(self, tenant: str) -> tuple[str, ...]:
        """The sizes that a tenant may use."""
        return self._read(tenant, "")[0]

    def tenants(self) -> dict[str, str]:
        """What was set, by tenant."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("sizes"))
        return dict(sorted(found.items()))

    def of_app(self, tenant: str, app: str) -> str:
        """The size of an app's builds that ask for none."""
        return self._read(tenant, app)[1]

    def allow(self, tenant: str, sizes: tuple[str, ...] | None) -> None:
        """The tenant may use these sizes; None: those of the settings. Raises RequestError."""
        for size in sizes or ():
            self._check_known(size)
        if sizes == ():
            raise RequestError("A tenant must have a size.", advice="Name one or several, as standard,large.")
        self._write("sizes", tenant, None if sizes is None else ",".join(dict.fromkeys(sizes)))

    def choose(self, tenant: str, app: str, size: str) -> None:
        """From the next submit on, the app's builds have this size unless they ask for another.

        Raises RequestError, and NotFoundError for an app that had no build: what is kept ends with the app.
        """
        self._check_known(size)
        self._check_allowed(size, tenant, self.allowed(tenant))
        place = f"{tenant}/{app}"
        with self.database.failures():
            listed: Any = self.database.client.zscore(self.database.key("apps", tenant), place)
        if listed is None:
            raise NotFoundError(
                f"There is no app {place}.", advice="Name the size with its first build, as --size does."
            )
        self._write("app-sizes", place, None if size == STANDARD else size)

    def given(self, request: Request, accepted: Callable[[], bool]) -> Request:
        """The request with the size of its build. Raises RequestError for one that it cannot have.

        One that was ``accepted`` before passes as it is, whatever its size is now.
        """
        try:
            return self._given(request)
        except RequestError:
            if not accepted():
                raise
            return request

    def next_larger(self, tenant: str, size: str) -> str:
        """The next size up that the tenant may use and a node serves; empty if there is none."""
        usable = set(self.allowed(tenant)) & (self._served() | self.settings.sizes_on_demand)
        return larger(sizes_of(self.settings), size, usable)

    def _given(self, request: Request) -> Request:
        if not isinstance(request, BuildRequest) or not (self.settings.sizes or request.size):
            return request
        self._check_known(request.size or STANDARD)
        allowed, chosen = self._read(request.tenant, request.app)
        size = request.size or chosen
        self._check_allowed(size, request.tenant, allowed)
        if size != STANDARD and size not in self._served() | self.settings.sizes_on_demand:
            raise NotServedError(
                f"No build node serves the size {size} now.",
                advice="Try again later, or ask for another size. buildfarm nodes shows which sizes the nodes serve.",
            )
        return request.model_copy(update={"size": None if size == STANDARD else size})

    def _served(self) -> set[str]:
        return {size for node in self.nodes() if node.state is not NodeState.GONE for size in node.serves}

    def _check_known(self, size: str) -> None:
        known = sizes_of(self.settings)
        if size not in known:
            raise RequestError(f"There is no size {size[:40]}.", advice=f"The sizes are: {', '.join(known)}.")

    def _check_allowed(self, size: str, tenant: str, allowed: tuple[str, ...]) -> None:
        if size not in allowed:
            raise RequestError(
                f"{tenant} must not use the size {size}.", advice=f"It has: {', '.join(allowed)}. Operators allow more."
            )

    def _read(self, tenant: str, app: str) -> tuple[tuple[str, ...], str]:
        """What a tenant may use, and the size of this app; a size that is no longer known counts as standard."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.hget(self.database.key("sizes"), tenant)
            pipeline.hget(self.database.key("app-sizes"), f"{tenant}/{app}")
            found = pipeline.execute()
        known = sizes_of(self.settings)
        allowed = found[0].split(",") if found[0] else self.settings.tenant_sizes
        return tuple(size for size in known if size in allowed), found[1] if found[1] in known else STANDARD

    def _write(self, name: str, field: str, value: str | None) -> None:
        with self.database.failures():
            if value is None:
                self.database.client.hdel(self.database.key(name), field)
            else:
                self.database.client.hset(self.database.key(name), field, value)
