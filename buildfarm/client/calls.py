"""What both clients ask, each call with how its answer is read, and what is sent again. No I/O.

What takes several calls is a generator: it yields the calls, and is sent their answers or thrown an ApiError.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import httpx

from buildfarm.client import wire
from buildfarm.errors import ApiError, NotFoundError, RequestError
from buildfarm.events import LogLine
from buildfarm.model import Build, BuildRequest, Request, State
from buildfarm.node import Node
from buildfarm.oci.digest import Digest
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import LayerDigests
from buildfarm.queue.view import QueueView
from buildfarm.sources import packing
from buildfarm.sources.address import ArtifactSource

T = TypeVar("T")

UPLOAD_TRIES = 8
_PAGE_MAX = 200


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Iterable[bytes] | None = None  # streamed instead of a body
    after_seconds: float = 0  # sent no sooner than this

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice: the same key, the same build."""
        return self.method in ("GET", "PUT") or "Idempotency-Key" in self.headers

    @property
    def options(self) -> dict[str, Any]:
        """What httpx is given beside method and path."""
        sent = {"content": self.content} if self.content is not None else {"json": self.body}
        return {"params": self.parameters, "headers": self.headers, **sent}


Steps = Generator[Call[Any], httpx.Response, T]


class SeenBuilds:
    """Remembers the references of images that came with builds."""

    def __init__(self) -> None:
        self._images: dict[str, str] = {}

    def keep(self, seen: wire.Seen) -> Build:
        """The build that was seen."""
        if seen.image:
            self._images[seen.build.id] = seen.image
        return seen.build

    def image(self, build: Build) -> str:
        """The reference of the build's image; empty if no answer had it yet. Raises ValueError if there is no image."""
        if build.result is None:
            raise ValueError(f"build {build.id} has no image")
        return self._images.get(build.id, "")


def ask(call: Call[T]) -> Steps[T]:
    """Sends a call, again if it can be repeated and the API is unreachable, and reads the answer."""
    for left in reversed(range(wire.TRIES if call.repeatable else 1)):
        try:
            answer = yield call
        except ApiError:
            if not left:
                raise
        else:
            if answer.status_code != 503 or not left:
                return call.read(wire.check(answer))
        call = replace(call, after_seconds=wire.PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def upload(made: LayerDigests, stream: Callable[[], LayerStream], tenant: str) -> Steps[tuple[ArtifactSource, int]]:
    """Sends a packed directory, unless the registry has it: its source, and the bytes sent."""
    source = ArtifactSource(repository=f"sources/{tenant}", digest=Digest(packing.digest_of(made)))
    if (yield from has_source(source)):
        return source, 0
    wait_seconds = 0.0
    for left in reversed(range(UPLOAD_TRIES)):
        try:
            with stream() as pieces:
                answer = yield replace(sent_source(tenant, pieces), after_seconds=wait_seconds)
        except ApiError:
            if not left:
                raise
            wait_seconds = wire.PAUSE_SECONDS
        else:
            wait_seconds = wire.busy_seconds(answer)
            if not wait_seconds or not left:
                return _sent(wire.check(answer))
    raise AssertionError("the last try returns or raises")


def has_source(source: ArtifactSource) -> Steps[bool]:
    """Whether the registry has this source."""
    tenant = source.repository.removeprefix("sources/")
    try:
        return (yield from ask(Call("GET", f"/v1/sources/{source.digest}", _there, {"tenant": tenant})))
    except NotFoundError:
        return False


def cancel(build_id: str) -> Steps[State]:
    """Ends a build: the state it was found in, a final one too."""
    answer = yield Call("POST", f"/v1/builds/{build_id}/cancel", _there)
    if answer.status_code == 409 and answer.json().get("code") == "request.ended":
        return (yield from ask(get(build_id))).build.state
    return State(wire.check(answer).json()["found"])


def recent(limit: int, tenant: str | None, app: str | None, lost: list[str] | None = None) -> Steps[list[wire.Seen]]:
    """The newest builds first."""
    found: list[wire.Seen] = []
    after: str | None = ""
    while after is not None and len(found) < limit:
        builds, after = yield from ask(page(min(limit - len(found), _PAGE_MAX), tenant, app, (), after, lost=lost))
        found += builds
    return found


def submit(request: Request, key: str | None) -> Call[wire.Seen]:
    """Accepts a build. Raises RequestError if the API does not take such builds."""
    if not isinstance(request, BuildRequest):
        raise RequestError(
            "The API accepts only builds of apps.",
            advice="Build images with direct access to Redis: set BUILDFARM_REDIS_URL.",
        )
    body = request.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
    body["source"] = request.source.model_dump(mode="json")
    chosen = request.idempotency_key or key or secrets.token_hex(16)
    return Call("POST", "/v1/builds", _seen_in, body=body, headers={"Idempotency-Key": chosen})


def get(build_id: str) -> Call[wire.Seen]:
    """One build."""
    return Call("GET", f"/v1/builds/{build_id}", _seen_in)


def log(build_id: str, after: str, tail: int | None = None) -> Call[list[LogLine]]:
    """The log so far, which is streamed rather than read as a whole; or its last lines (all, from an older API)."""
    parameters = {"after": after, "format": "ndjson", **({} if tail is None else {"tail": tail})}
    return Call("GET", f"/v1/builds/{build_id}/log", lambda answer: wire.LineParser().feed(answer.content), parameters)


def page(
    limit: int,
    tenant: str | None,
    app: str | None,
    states: Iterable[State],
    after: str,
    *,
    lost: list[str] | None = None,
) -> Call[tuple[list[wire.Seen], str | None]]:
    """A page of builds, and where the next one begins; ``lost`` gets what cannot be shown."""

    def page_in(answer: httpx.Response) -> tuple[list[wire.Seen], str | None]:
        found = answer.json()
        if lost is not None:
            lost.extend(sentence for sentence in found.get("lost", ()) if sentence not in lost)
        return [wire.seen(build) for build in found["builds"]], found["next"]

    wanted = {"limit": limit, "tenant": tenant, "app": app, "state": [*states], "after": after}
    return Call("GET", "/v1/builds", page_in, {name: value for name, value in wanted.items() if value})


def sent_source(tenant: str, pieces: Iterable[bytes]) -> Call[tuple[ArtifactSource, int]]:
    """A gzip-compressed tar archive as a source; it is not sent again by itself."""
    headers = {"Content-Type": "application/gzip"}
    return Call("POST", "/v1/sources", _sent, {"tenant": tenant}, headers=headers, content=pieces)


def source_bytes() -> Call[int]:
    """How large a source may be."""
    return Call("GET", "/v1/farm", lambda answer: int(answer.json()["source_bytes"]))


def nodes() -> Call[list[Node]]:
    """The build nodes."""
    return Call("GET", "/v1/nodes", wire.decoded(list[Node]))


def drain(node_id: str) -> Call[bool]:
    """Asks a node to leave."""
    return Call("POST", f"/v1/nodes/{node_id}/drain", _there)


def builder() -> Call[str]:
    """The builder image."""
    return Call("GET", "/v1/builder", lambda answer: str(answer.json()["builder"]))


def promote_builder(reference: str) -> Call[str]:
    """Changes the builder image."""
    return replace(builder(), method="PUT", body={"reference": reference})


def buildpacks() -> Call[tuple[str, ...]]:
    """The farm's order of buildpacks."""
    return Call("GET", "/v1/buildpacks", wire.decoded(tuple[str, ...]))


def order_buildpacks(order: Iterable[str]) -> Call[tuple[str, ...]]:
    """Changes the farm's order of buildpacks."""
    return replace(buildpacks(), method="PUT", body={"buildpacks": list(order)})


def queue(tenants_max: int) -> Call[QueueView]:
    """How the queue stands."""

    def read(answer: httpx.Response) -> QueueView:
        view = wire.decoded(QueueView)(answer)
        return view.model_copy(update={"tenants": view.tenants[:tenants_max]})

    return Call("GET", "/v1/queue", read)


def _there(_: httpx.Response) -> bool:
    return True


def _sent(answer: httpx.Response) -> tuple[ArtifactSource, int]:
    sent = answer.json()
    return ArtifactSource.model_validate(sent["source"], extra="ignore"), int(sent["sent_bytes"])


def _seen_in(answer: httpx.Response) -> wire.Seen:
    return wire.seen(answer.json())
