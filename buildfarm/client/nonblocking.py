"""The farm over HTTP for asyncio; the same methods as the blocking client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from buildfarm.client import wire
from buildfarm.errors import ApiError, BuildfarmError, NotFoundError
from buildfarm.events import LogLine
from buildfarm.model import Build, Request, State
from buildfarm.node import Node
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream
from buildfarm.queue.view import Limits, QueuePosition, QueueView
from buildfarm.sources import packing
from buildfarm.sources.address import ArtifactSource


class AsyncClient:
    """The farm as its users see it, from outside; an asynchronous context manager.

    Every method raises ApiError where the API cannot be reached, and RequestError where the token does not allow it.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_seconds
        )
        self._images: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Gives the connections back."""
        await self._http.aclose()

    async def pack(self, directory: Path, tenant: str) -> tuple[ArtifactSource, int]:
        """A directory as a source in the registry, and the bytes sent for it: 0 where it was there already.

        Raises SourceError, TooLargeError and RegistryError.
        """
        limit = (await self._ask(wire.Call("GET", "/v1/farm"))).json()["source_bytes"]
        made, stream = await asyncio.to_thread(packing.packed, directory, limit)
        digest = packing.digest_of(made)
        try:
            await self._ask(wire.Call("GET", f"/v1/sources/{digest}", {"tenant": tenant}))
            return ArtifactSource(repository=f"sources/{tenant}", digest=Digest(digest)), 0
        except NotFoundError:
            pass
        sent = wire.check(await self._upload(stream, tenant)).json()
        return ArtifactSource.model_validate(sent["source"], extra="ignore"), int(sent["sent_bytes"])

    async def submit(self, request: Request, *, build_id: str | None = None) -> Build:
        """Accepts a build. Raises RequestError, QueueFullError and ConflictError; ``build_id`` serves as its key."""
        return self._build((await self._ask(wire.submission(request, build_id))).json())

    async def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError."""
        return (await self._seen(build_id)).build

    async def page(
        self,
        limit: int,
        *,
        tenant: str | None = None,
        app: str | None = None,
        states: Iterable[State] = (),
        after: str = "",
    ) -> tuple[list[Build], str | None]:
        """A page of builds, and where the next one begins: None at the end."""
        wanted = {"limit": limit, "tenant": tenant, "app": app, "state": [*states], "after": after}
        parameters = {name: value for name, value in wanted.items() if value}
        page = (await self._ask(wire.Call("GET", "/v1/builds", parameters))).json()
        return [self._build(build) for build in page["builds"]], page["next"]

    async def recent(self, limit: int = 20, *, tenant: str | None = None, app: str | None = None) -> list[Build]:
        """The newest builds first."""
        found: list[Build] = []
        after: str | None = ""
        while after is not None and len(found) < limit:
            builds, after = await self.page(min(limit - len(found), 200), tenant=tenant, app=app, after=after)
            found += builds
        return found

    async def logs(self, build_id: str, *, follow: bool = False, after: str = "0") -> AsyncIterator[LogLine]:
        """The build's log; with ``follow`` until the build has ended. Raises NotFoundError."""
        if follow:
            async for name, data in self._events(build_id, after):
                if name == "line":
                    yield wire.line_of(data)
            return
        parameters = {"after": after, "format": "ndjson"}
        async with self._http.stream("GET", f"/v1/builds/{build_id}/log", params=parameters) as answer:
            if not answer.is_success:
                await answer.aread()
            wire.check(answer)
            # Not iter_lines: it splits also at U+2028, which a build may print.
            rest = b""
            async for piece in answer.aiter_raw():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield LogLine.model_validate_json(line, extra="ignore")

    async def follow(self, build_id: str) -> AsyncIterator[Build | LogLine]:
        """The build whenever it has changed, and its log's lines as they come; the last item is the ended build."""
        told: Build | None = None
        async for name, data in self._events(build_id, "0"):
            if name == "line":
                yield wire.line_of(data)
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
        answer = await self._send("POST", f"/v1/builds/{build_id}/cancel")
        if wire.has_ended(answer):
            return (await self.get(build_id)).state
        return State(wire.check(answer).json()["found"])

    async def nodes(self) -> list[Node]:
        """The build nodes."""
        return wire.decode(await self._ask(wire.Call("GET", "/v1/nodes")), list[Node])

    async def drain(self, node_id: str) -> None:
        """Asks a node to take no more builds, to end those it has, and to leave. Raises NotFoundError."""
        wire.check(await self._send("POST", f"/v1/nodes/{node_id}/drain"))

    async def builder(self) -> str:
        """The builder image of the farm, as repository@digest; empty where it has none yet."""
        return str((await self._ask(wire.Call("GET", "/v1/builder"))).json()["builder"])

    async def promote_builder(self, reference: str) -> str:
        """Makes an image of the farm's registry the builder of every node; returns it as repository@digest."""
        return str((await self._ask(wire.Call("PUT", "/v1/builder", body={"reference": reference}))).json()["builder"])

    async def queue_position(self, build: Build) -> QueuePosition | None:
        """Where a waiting build stands in the queue; None where it does not wait."""
        return (await self._seen(build.id)).queue_position

    async def queue(self, tenants_max: int = 20) -> QueueView:
        """How the queue stands, by class and by tenant."""
        view = wire.decode(await self._ask(wire.Call("GET", "/v1/queue")), QueueView)
        return view.model_copy(update={"tenants": view.tenants[:tenants_max]})

    async def limits(self, tenant: str, app: str | None = None) -> Limits:
        """What a tenant may have running and waiting, and this app of it."""
        parameters = {"app": app} if app else {}
        return wire.decode(await self._ask(wire.Call("GET", f"/v1/limits/{tenant}", parameters)), Limits)

    async def limits_set(self) -> dict[str, int]:
        """The limits that were set, as "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        return wire.decode(await self._ask(wire.Call("GET", "/v1/limits")), dict[str, int])

    async def set_limits(self, tenant: str, app: str | None = None, **values: int | None) -> Limits:
        """Sets ``running``, and of a tenant ``waiting``; None goes back to the settings. Raises RequestError."""
        body = {**values, **({"app": app} if app else {})}
        return wire.decode(await self._ask(wire.Call("PUT", f"/v1/limits/{tenant}", body=body)), Limits)

    async def image(self, build: Build) -> str:
        """The reference under which the farm's registry gives the image out. Raises ValueError where it has none."""
        if build.result is None:
            raise ValueError(f"build {build.id} has no image")
        return self._images.get(build.id) or str((await self._seen(build.id)).image)

    async def _seen(self, build_id: str) -> wire.Seen:
        return self._keep(wire.seen((await self._ask(wire.Call("GET", f"/v1/builds/{build_id}"))).json()))

    def _build(self, values: dict[str, Any]) -> Build:
        return self._keep(wire.seen(values)).build

    def _keep(self, seen: wire.Seen) -> wire.Seen:
        if seen.image:
            self._images[seen.build.id] = seen.image
        return seen

    async def _events(self, build_id: str, after: str, deadline: float | None = None) -> AsyncIterator[tuple[str, Any]]:
        """Events of a live log until its end, over any number of connections."""
        events, failures = wire.EventParser(), 0
        while True:
            headers = {"Last-Event-ID": events.last} if events.last else {}
            left = wire.SILENCE_SECONDS if deadline is None else max(0.05, deadline - time.monotonic())
            timeout = httpx.Timeout(30, read=min(left, wire.SILENCE_SECONDS))
            try:
                async with self._http.stream(
                    "GET", f"/v1/builds/{build_id}/log/live", params={"after": after}, headers=headers, timeout=timeout
                ) as answer:
                    if not answer.is_success:
                        await answer.aread()
                    wire.check(answer)
                    async for piece in answer.aiter_raw():
                        failures = 0
                        for name, data in events.feed(piece):
                            if name == "end":
                                return
                            yield name, data
                        if deadline is not None and time.monotonic() > deadline:
                            return
            except httpx.TransportError as error:
                if deadline is not None and time.monotonic() > deadline:
                    return
                failures += 1
                if failures == wire.TRIES:
                    raise wire.unreachable(self.url, error) from error
            events.cut()
            await asyncio.sleep(wire.PAUSE_SECONDS)

    async def _upload(self, stream: Callable[[], LayerStream], tenant: str) -> httpx.Response:
        """The answer to a source, sent again while the API has no slot for it or cuts the connection."""
        headers = {"Content-Type": "application/gzip"}
        for left in reversed(range(wire.UPLOAD_TRIES)):
            try:
                with stream() as pieces:
                    answer = await self._send(
                        "POST", "/v1/sources", params={"tenant": tenant}, content=_threaded(pieces), headers=headers
                    )
            except ApiError:
                if not left:
                    raise
                wait_seconds = wire.PAUSE_SECONDS
            else:
                wait_seconds = wire.busy_seconds(answer)
                if not wait_seconds or not left:
                    return answer
            await asyncio.sleep(wait_seconds)
        raise AssertionError("the last try returns or raises")

    async def _ask(self, call: wire.Call) -> httpx.Response:
        for left in reversed(range(wire.TRIES if call.again else 1)):
            try:
                answer = await self._send(
                    call.method, call.path, params=call.parameters, json=call.body, headers=call.headers
                )
            except BuildfarmError:
                if not left:
                    raise
            else:
                if answer.status_code != 503 or not left:
                    return wire.check(answer)
            await asyncio.sleep(wire.PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise wire.unreachable(self.url, error) from error


async def _threaded(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """What is made by threads and a subprocess, without blocking the loop."""
    iterator = iter(pieces)
    while piece := await asyncio.to_thread(next, iterator, b""):
        yield piece
