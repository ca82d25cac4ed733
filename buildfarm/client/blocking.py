"""The farm over HTTP, call by call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
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


class Client:
    """The farm as its users see it, from outside; a context manager, and safe to use from several threads.

    Every method raises ApiError where the API cannot be reached, and RequestError where the token does not allow it.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_seconds
        )
        self._images: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._http.close()

    def pack(self, directory: Path, tenant: str) -> tuple[ArtifactSource, int]:
        """A directory as a source in the registry, and the bytes sent for it: 0 where it was there already.

        Raises SourceError, TooLargeError and RegistryError.
        """
        limit = self._ask(wire.Call("GET", "/v1/farm")).json()["source_bytes"]
        made, stream = packing.packed(directory, limit)
        digest = packing.digest_of(made)
        try:
            self._ask(wire.Call("GET", f"/v1/sources/{digest}", {"tenant": tenant}))
            return ArtifactSource(repository=f"sources/{tenant}", digest=Digest(digest)), 0
        except NotFoundError:
            pass
        sent = wire.check(self._upload(stream, tenant)).json()
        return ArtifactSource.model_validate(sent["source"], extra="ignore"), int(sent["sent_bytes"])

    def submit(self, request: Request, *, build_id: str | None = None) -> Build:
        """Accepts a build. Raises RequestError, QueueFullError and ConflictError; ``build_id`` serves as its key."""
        return self._build(self._ask(wire.submission(request, build_id)).json())

    def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError."""
        return self._seen(build_id).build

    def page(
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
        page = self._ask(wire.Call("GET", "/v1/builds", parameters)).json()
        return [self._build(build) for build in page["builds"]], page["next"]

    def recent(self, limit: int = 20, *, tenant: str | None = None, app: str | None = None) -> list[Build]:
        """The newest builds first."""
        found: list[Build] = []
        after: str | None = ""
        while after is not None and len(found) < limit:
            builds, after = self.page(min(limit - len(found), 200), tenant=tenant, app=app, after=after)
            found += builds
        return found

    def logs(self, build_id: str, *, follow: bool = False, after: str = "0") -> Iterator[LogLine]:
        """The build's log; with ``follow`` until the build has ended. Raises NotFoundError."""
        if follow:
            for name, data in self._events(build_id, after):
                if name == "line":
                    yield wire.line_of(data)
            return
        parameters = {"after": after, "format": "ndjson"}
        with self._http.stream("GET", f"/v1/builds/{build_id}/log", params=parameters) as answer:
            if not answer.is_success:
                answer.read()
            wire.check(answer)
            # Not iter_lines: it splits also at U+2028, which a build may print.
            rest = b""
            for piece in answer.iter_raw():
                *lines, rest = (rest + piece).split(b"\n")
                yield from (LogLine.model_validate_json(line, extra="ignore") for line in lines)

    def follow(self, build_id: str) -> Iterator[Build | LogLine]:
        """The build whenever it has changed, and its log's lines as they come; the last item is the ended build."""
        told: Build | None = None
        for name, data in self._events(build_id, "0"):
            if name == "line":
                yield wire.line_of(data)
            elif not wire.is_final(data):
                build = self.get(build_id)
                if build != told and not build.state.final:
                    told = build
                    yield build
        yield self.get(build_id)

    def wait(self, build_id: str, *, timeout_seconds: float | None = None) -> Build:
        """Returns the build when it has ended, or as it is after ``timeout_seconds``. Raises NotFoundError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        for _ in self._events(build_id, "0", deadline):
            pass
        return self.get(build_id)

    def cancel(self, build_id: str) -> State:
        """Ends a build; returns the state it was found in, a final one too. Raises NotFoundError and TooLateError."""
        answer = self._send("POST", f"/v1/builds/{build_id}/cancel")
        if wire.has_ended(answer):
            return self.get(build_id).state
        return State(wire.check(answer).json()["found"])

    def nodes(self) -> list[Node]:
        """The build nodes."""
        return wire.decode(self._ask(wire.Call("GET", "/v1/nodes")), list[Node])

    def drain(self, node_id: str) -> None:
        """Asks a node to take no more builds, to end those it has, and to leave. Raises NotFoundError."""
        wire.check(self._send("POST", f"/v1/nodes/{node_id}/drain"))

    def builder(self) -> str:
        """The builder image of the farm, as repository@digest; empty where it has none yet."""
        return str(self._ask(wire.Call("GET", "/v1/builder")).json()["builder"])

    def promote_builder(self, reference: str) -> str:
        """Makes an image of the farm's registry the builder of every node; returns it as repository@digest."""
        return str(self._ask(wire.Call("PUT", "/v1/builder", body={"reference": reference})).json()["builder"])

    def queue_position(self, build: Build) -> QueuePosition | None:
        """Where a waiting build stands in the queue; None where it does not wait."""
        return self._seen(build.id).queue_position

    def queue(self, tenants_max: int = 20) -> QueueView:
        """How the queue stands, by class and by tenant."""
        view = wire.decode(self._ask(wire.Call("GET", "/v1/queue")), QueueView)
        return view.model_copy(update={"tenants": view.tenants[:tenants_max]})

    def limits(self, tenant: str, app: str | None = None) -> Limits:
        """What a tenant may have running and waiting, and this app of it."""
        parameters = {"app": app} if app else {}
        return wire.decode(self._ask(wire.Call("GET", f"/v1/limits/{tenant}", parameters)), Limits)

    def limits_set(self) -> dict[str, int]:
        """The limits that were set, as "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        return wire.decode(self._ask(wire.Call("GET", "/v1/limits")), dict[str, int])

    def set_limits(self, tenant: str, app: str | None = None, **values: int | None) -> Limits:
        """Sets ``running``, and of a tenant ``waiting``; None goes back to the settings. Raises RequestError."""
        body = {**values, **({"app": app} if app else {})}
        return wire.decode(self._ask(wire.Call("PUT", f"/v1/limits/{tenant}", body=body)), Limits)

    def image(self, build: Build) -> str:
        """The reference under which the farm's registry gives the image out. Raises ValueError where it has none."""
        if build.result is None:
            raise ValueError(f"build {build.id} has no image")
        return self._images.get(build.id) or str(self._seen(build.id).image)

    def _seen(self, build_id: str) -> wire.Seen:
        return self._keep(wire.seen(self._ask(wire.Call("GET", f"/v1/builds/{build_id}")).json()))

    def _build(self, values: dict[str, Any]) -> Build:
        return self._keep(wire.seen(values)).build

    def _keep(self, seen: wire.Seen) -> wire.Seen:
        if seen.image:
            self._images[seen.build.id] = seen.image
        return seen

    def _events(self, build_id: str, after: str, deadline: float | None = None) -> Iterator[tuple[str, Any]]:
        """Events of a live log until its end, over any number of connections."""
        events, failures = wire.EventParser(), 0
        while True:
            headers = {"Last-Event-ID": events.last} if events.last else {}
            left = wire.SILENCE_SECONDS if deadline is None else max(0.05, deadline - time.monotonic())
            timeout = httpx.Timeout(30, read=min(left, wire.SILENCE_SECONDS))
            try:
                with self._http.stream(
                    "GET", f"/v1/builds/{build_id}/log/live", params={"after": after}, headers=headers, timeout=timeout
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                    wire.check(answer)
                    for piece in answer.iter_raw():
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
            time.sleep(wire.PAUSE_SECONDS)

    def _upload(self, stream: Callable[[], LayerStream], tenant: str) -> httpx.Response:
        """The answer to a source, sent again while the API has no slot for it or cuts the connection."""
        headers = {"Content-Type": "application/gzip"}
        for left in reversed(range(wire.UPLOAD_TRIES)):
            try:
                with stream() as pieces:
                    answer = self._send(
                        "POST", "/v1/sources", params={"tenant": tenant}, content=pieces, headers=headers
                    )
            except ApiError:
                if not left:
                    raise
                wait_seconds = wire.PAUSE_SECONDS
            else:
                wait_seconds = wire.busy_seconds(answer)
                if not wait_seconds or not left:
                    return answer
            time.sleep(wait_seconds)
        raise AssertionError("the last try returns or raises")

    def _ask(self, call: wire.Call) -> httpx.Response:
        for left in reversed(range(wire.TRIES if call.again else 1)):
            try:
                answer = self._send(
                    call.method, call.path, params=call.parameters, json=call.body, headers=call.headers
                )
            except BuildfarmError:
                if not left:
                    raise
            else:
                if answer.status_code != 503 or not left:
                    return wire.check(answer)
            time.sleep(wire.PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise wire.unreachable(self.url, error) from error
