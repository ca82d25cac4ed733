"""The farm over HTTP for asyncio; the same methods as the blocking client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from buildfarm.client import calls, wire
from buildfarm.client.apps import AsyncApps
from buildfarm.client.bases import AsyncBases
from buildfarm.client.channels import AsyncChannels
from buildfarm.client.components import AsyncComponents
from buildfarm.client.credentials import AsyncCredentials
from buildfarm.client.hooks import AsyncHooks
from buildfarm.client.keeping import AsyncKeeping
from buildfarm.client.sizes import AsyncSizes
from buildfarm.client.variables import AsyncVariables
from buildfarm.errors import ApiError
from buildfarm.events import LogLine, LogNow
from buildfarm.model import Build, Request, State
from buildfarm.node import Node
from buildfarm.queue.view import QueuePosition, QueueView
from buildfarm.sources import packing
from buildfarm.sources.address import ArtifactSource

T = TypeVar("T")


class AsyncClient(
    AsyncKeeping, AsyncApps, AsyncChannels, AsyncComponents, AsyncVariables, AsyncCredentials, AsyncHooks, AsyncSizes,
    AsyncBases,
):  # fmt: skip
    """The farm as its users see it, from outside; an asynchronous context manager.

    Every method raises ApiError if the API cannot be reached, and RequestError if the token does not allow it.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_seconds
        )
        self._seen = calls.SeenBuilds()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Gives the connections back."""
        await self._http.aclose()

    async def pack(self, directory: Path, tenant: str, seen: packing.Seen | None = None) -> tuple[ArtifactSource, int]:
        """A directory as a source in the registry, and the bytes sent for it: 0 if it was there already.

        ``seen`` gets the choice of its files. Raises SourceError, TooLargeError and RegistryError.
        """
        limit = await self._ask(calls.source_bytes())
        made, stream = await asyncio.to_thread(packing.packed, directory, limit, seen)
        return await self._run(calls.upload(made, stream, tenant))

    async def take_source(self, tenant: str, pieces: Iterable[bytes]) -> tuple[ArtifactSource, int]:
        """A gzip-compressed tar archive whose entries lie in one folder, kept in the registry; and its size.

        Raises SourceError, TooLargeError and RegistryError.
        """
        return await self._ask(calls.sent_source(tenant, pieces))

    async def has_source(self, packed: ArtifactSource) -> bool:
        """Whether the registry has this source. Raises RegistryError."""
        return await self._run(calls.has_source(packed))

    async def submit(self, request: Request, *, build_id: str | None = None) -> Build:
        """Accepts a build. Raises RequestError, QueueFullError and ConflictError; ``build_id`` serves as its key."""
        return self._seen.keep(await self._ask(calls.submit(request, build_id)))

    async def buildpacks(self) -> tuple[str, ...]:
        """The farm's order of buildpacks; empty if it is the builder's own."""
        return await self._ask(calls.buildpacks())

    async def order_buildpacks(self, buildpacks: Sequence[str]) -> None:
        """Apps that name no buildpack are built by the first of these that takes them; each must be pinned."""
        await self._ask(calls.order_buildpacks(buildpacks))

    async def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError."""
        return self._seen.keep(await self._ask(calls.get(build_id)))

    async def page(
        self,
        limit: int,
        *,
        tenant: str | None = None,
        app: str | None = None,
        states: Collection[State] = (),
        after: str = "",
        lost: list[str] | None = None,
    ) -> tuple[list[Build], str | None]:
        """A page of builds, and where the next one begins: None at the end; ``lost`` gets what cannot be shown."""
        builds, following = await self._ask(calls.page(limit, tenant, app, states, after, lost=lost))
        return [self._seen.keep(build) for build in builds], following

    async def recent(
        self, limit: int = 20, *, tenant: str | None = None, app: str | None = None, lost: list[str] | None = None
    ) -> list[Build]:
        """The newest builds first; ``lost`` gets what cannot be shown."""
        return [self._seen.keep(build) for build in await self._run(calls.recent(limit, tenant, app, lost))]

    async def logs(self, build_id: str, *, follow: bool = False, after: str = "0") -> AsyncIterator[LogLine]:
        """The build's log; with ``follow`` until the build has ended. Raises NotFoundError."""
        if follow:
            async for name, data in self._events(build_id, after):
                if name == "line":
                    yield wire.line_of(data)
            return
        call, lines = calls.log(build_id, after), wire.LineParser()
        async with self._http.stream(call.method, call.path, **call.options) as answer:
            await self._check(answer)
            async for piece in answer.aiter_raw():
                for line in lines.feed(piece):
                    yield line

    async def log_tail(self, build_id: str, lines: int, *, after: str = "0") -> list[LogLine]:
        """The last lines of the build's log so far, at most 10,000. Raises NotFoundError."""
        return (await self._ask(calls.log(build_id, after, lines)))[-lines:]

    async def follow(self, build_id: str, *, now: bool = False) -> AsyncIterator[Build | LogLine | LogNow]:
        """The build when it has changed, its log's lines, with ``now`` the unfinished one; at last the ended build."""
        told: Build | None = None
        async for name, data in self._events(build_id, "0", now=now):
            if name == "line":
                yield wire.line_of(data)
            elif name == "now":
                yield LogNow.model_validate(data, extra="ignore")
            elif not wire.is_final(data):
                build = await self.get(build_id)
                if build != told and not build.state.final:
                    told = build
                    yield build
        yield await self.get(build_id)

    async def wait(self, build_id: str, *, timeout_seconds: float | None = None) -> Build:
        """Returns the build when it has ended, or as it is after ``timeout_seconds``. Raises NotFoundError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        async for _ in self._events(build_id, "0", deadline):
            pass
        return await self.get(build_id)

    async def cancel(self, build_id: str) -> State:
        """Ends a build; returns the state it was found in, a final one too. Raises NotFoundError and TooLateError."""
        return await self._run(calls.cancel(build_id))

    async def nodes(self) -> list[Node]:
        """The build nodes."""
        return await self._ask(calls.nodes())

    async def drain(self, node_id: str) -> None:
        """Asks a node to take no more builds, to end those it has, and to leave. Raises NotFoundError."""
        await self._ask(calls.drain(node_id))

    async def builder(self) -> str:
        """The builder image of the farm, as repository@digest; empty if it has none yet."""
        return await self._ask(calls.builder())

    async def promote_builder(self, reference: str) -> str:
        """Makes an image of the farm's registry the builder of every node; returns it as repository@digest."""
        return await self._ask(calls.promote_builder(reference))

    async def queue_position(self, build: Build) -> QueuePosition | None:
        """Where a waiting build stands in the queue; None if it does not wait."""
        return (await self._ask(calls.get(build.id))).queue_position

    async def queue(self, tenants_max: int = 20) -> QueueView:
        """How the queue stands, by class and by tenant."""
        return await self._ask(calls.queue(tenants_max))

    async def image(self, build: Build) -> str:
        """The reference under which the farm's registry gives the image out. Raises ValueError if it has none."""
        return self._seen.image(build) or str((await self._ask(calls.get(build.id))).image)

    async def _events(
        self, build_id: str, after: str, deadline: float | None = None, *, now: bool = False
    ) -> AsyncIterator[tuple[str, Any]]:
        """Events of a live log until its end, over any number of connections."""
        live = wire.LiveLog(self.url, build_id, after, deadline, now=now)
        while not live.has_ended():
            failure: httpx.TransportError | None = None
            try:
                async with self._http.stream("GET", live.path, **live.options) as answer:
                    await self._check(answer)
                    async for piece in answer.aiter_raw():
                        for event in live.feed(piece):
                            yield event
                        if live.has_ended():
                            return
            except httpx.TransportError as error:
                failure = error
            await asyncio.sleep(live.cut(failure))

    async def _check(self, answer: httpx.Response) -> None:
        """Reads a problem whole, and raises it."""
        if not answer.is_success:
            await answer.aread()
        wire.check(answer)

    async def _ask(self, call: calls.Call[T]) -> T:
        return await self._run(calls.ask(call))

    async def _run(self, steps: calls.Steps[T]) -> T:
        """Sends what the steps yield, until they return."""
        with closing(steps):
            try:
                call = next(steps)
                while True:
                    await asyncio.sleep(call.after_seconds)
                    try:
                        answer = await self._send(call)
                    except ApiError as error:
                        call = steps.throw(error)
                    else:
                        call = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result

    async def _send(self, call: calls.Call[Any]) -> httpx.Response:
        options = call.options if call.content is None else {**call.options, "content": _threaded(call.content)}
        try:
            return await self._http.request(call.method, call.path, **options)
        except httpx.TransportError as error:
            raise wire.unreachable(self.url, error) from error


async def _threaded(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """What is made by threads and a subprocess, without blocking the loop."""
    iterator = iter(pieces)
    while piece := await asyncio.to_thread(next, iterator, b""):
        yield piece
