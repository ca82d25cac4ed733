"""Builds over HTTP: submit, look, list, cancel, and their logs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from buildfarm.api.bodies import BuildFilter, BuildPage, BuildView, CancelledView, NewBuild
from buildfarm.api.caller import Caller, Reader, Submitter
from buildfarm.api.live.server_sent import EVENT_STREAM, LiveStream, log_events
from buildfarm.api.problems import RefusedError, responses
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.events import LOG_TAIL_MAX
from buildfarm.gc.retention import Rollback
from buildfarm.model import Build, BuildRequest, State
from buildfarm.sources.address import ArtifactSource

router = APIRouter(prefix="/v1/builds", tags=["builds"])

BuildId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["5f2a9c1e7b3d4860"])]
Position = Annotated[str, Query(pattern=r"^\d{1,15}(-\d{1,10})?$", description="only lines after this position")]

_PIECE_LINES = 500
_COMMON = (401, 403, 422, 429, 503)


@router.post("", status_code=202, responses=responses(400, 404, 413, *_COMMON))
def submit(
    new: NewBuild,
    response: Response,
    caller: Submitter,
    key: Annotated[
        str,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[\x21-\x7e]{1,255}$",
            description="chosen by the caller: the same key returns the same build, however often it is sent",
            examples=["push-4711"],
        ),
    ],
) -> BuildView:
    """Accept a build. Once this answers, the build will be built or its failure told."""
    build = accept(caller, new, key)
    response.headers["Location"] = f"/v1/builds/{build.id}"
    return view(caller, build, why=False)


@router.get("", responses=responses(*_COMMON))
def list_builds(caller: Reader, wanted: Annotated[BuildFilter, Query()]) -> BuildPage:
    """The newest builds first, a page at a time; of a tenant's app with those in the archive."""
    lost: list[str] = []
    found, following = caller.services.farm.page(
        wanted.limit,
        tenant=caller.tenant_of(wanted.tenant),
        app=wanted.app,
        states=frozenset(wanted.state),
        after=wanted.after,
        lost=lost,
    )
    return BuildPage(builds=tuple(view(caller, build, why=False) for build in found), next=following, lost=tuple(lost))


@router.get("/{build_id}", responses=responses(404, *_COMMON))
def get(build_id: BuildId, caller: Reader) -> BuildView:
    """The build as it is now, with its result or failure, or its place in the queue."""
    return view(caller, caller.build(build_id))


@router.post("/{build_id}/cancel", status_code=202, responses=responses(400, 404, 409, 413, *_COMMON))
def cancel(build_id: BuildId, caller: Submitter) -> CancelledView:
    """End a build: at once where it waits, within seconds where it runs."""
    build = caller.build(build_id)
    found = caller.services.farm.cancel(build_id)
    if found.final:
        raise RefusedError(409, "request.ended", f"Build {build_id} has ended already: it is {found}.")
    caller.note("build.cancel", build_id, tenant=build.request.tenant)
    return CancelledView(id=build_id, found=found)


@router.post("/{build_id}/rollback", responses=responses(400, 404, 413, *_COMMON))
def roll_back(
    build_id: BuildId,
    caller: Submitter,
    seen: Annotated[
        str, Query(pattern=r"^(sha256:[0-9a-f]{64})?$", description="refuse unless the tag points to this digest now")
    ] = "",
) -> Rollback:
    """Point the app's tag at the image of this build, until a newer build publishes its own."""
    build = caller.build(build_id)
    moved = caller.services.farm.roll_back(build_id, seen=seen)
    caller.note("image.roll_back", f"{build_id} {moved.digest}", tenant=build.request.tenant)
    return moved


@router.get(
    "/{build_id}/log",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The lines so far",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        **responses(404, *_COMMON),
    },
)
def log(
    build_id: BuildId,
    caller: Reader,
    after: Position = "0",
    form: Annotated[
        Literal["text", "ndjson"], Query(alias="format", description="ndjson: one LogLine per line")
    ] = "text",
    tail: Annotated[int | None, Query(ge=1, le=LOG_TAIL_MAX, description="only the last of these lines")] = None,
) -> StreamingResponse:
    """The whole log so far, or its last lines."""
    caller.build(build_id)
    farm = caller.services.farm
    wanted = farm.logs(build_id, after=after) if tail is None else farm.log_tail(build_id, tail, after=after)

    def lines() -> Iterator[str]:
        for line in wanted:
            yield f"{line.text}\n" if form == "text" else f"{line.model_dump_json()}\n"

    media_type = "text/plain; charset=utf-8" if form == "text" else "application/x-ndjson"
    return StreamingResponse(in_pieces(lines()), media_type=media_type)


@router.get(
    "/{build_id}/log/live",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
        **responses(404, *_COMMON),
    },
)
def live_log(
    build_id: BuildId,
    caller: Reader,
    after: Position = "0",
    now: Annotated[bool, Query(description="send `now` too: the line that is being written, when it changes")] = False,
    last_event_id: Annotated[
        str, Header(description="where to resume after a lost connection; takes precedence over `after`")
    ] = "",
) -> StreamingResponse:
    """The log as it grows (server-sent events): `line` with a LogLine, `build` where its state changed, at last `end`.

    The id of each `line` is its position: sent as `Last-Event-ID` after a cut, no line is lost or doubled.
    """
    build = caller.build(build_id)
    if last_event_id and not re.fullmatch(r"\d{1,15}(-\d{1,10})?", last_event_id):
        raise RequestError(
            "Last-Event-ID is not a position in this log.", advice="Send the id of the last event you saw."
        )
    services = caller.services
    events = log_events(services.feeds, services.farm.history.whole, build, last_event_id or after, now=now)
    return LiveStream(events, services.streams, caller.token.id)


def in_pieces(lines: Iterator[str]) -> Iterator[str]:
    """The same text in fewer pieces: each costs a change of threads, 0.4 ms."""
    while piece := "".join(islice(lines, _PIECE_LINES)):
        yield piece


def accept(caller: Caller, new: NewBuild, key: str | None) -> Build:
    """Submits for the caller. Raises RefusedError, RequestError, NotFoundError and what `Farm.submit` does."""
    services = caller.services
    tenant = caller.tenant_of(new.tenant)
    if tenant is None:
        raise RequestError(
            "The request does not name a tenant.", advice="With a token for all tenants, name the tenant in the body."
        )
    if isinstance(new.source, ArtifactSource) and new.source.repository != f"sources/{tenant}":
        # Another tenant's source gives the same error as a missing one.
        caller.note("source.read", new.source.repository[:200], "denied")
        raise NotFoundError(f"There is no source {new.source.digest}.", advice="Send it: POST /v1/sources.")
    wait = services.rates.take("builds", tenant, services.farm.settings.api_builds_per_minute, 60)
    if wait:
        raise RefusedError(429, "request.rate", f"{tenant} submits too many builds per minute.", retry_seconds=wait)
    try:
        request = BuildRequest(**{**dict(new), "tenant": tenant, "idempotency_key": key})
    except ValidationError as error:
        raise RequestError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error
    started = time.time()
    build = services.farm.submit(request)
    services.tracer.add(build.id, "submit", started, time.time(), {"buildfarm.tenant": tenant})
    caller.note("build.submit", build.id, tenant=tenant)
    return build


def view(caller: Caller, build: Build, *, why: bool = True) -> BuildView:
    """The build as the caller may see it; of a waiting one with its place, and ``why`` it waits."""
    farm = caller.services.farm
    place_of = farm.queue_position if why else farm.admission.queue_position
    queue_position = None if build.state.final or build.state is State.RUNNING else place_of(build)
    return BuildView.of(build, farm.image(build) if build.result else None, queue_position)
