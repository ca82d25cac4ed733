"""A build's log on the page: whole for the viewer, as it grows, as text, and its end where no scripts run."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from buildfarm.api.live.server_sent import LiveStream, log_events
from buildfarm.api.page.pages import PageRoute, Visitor, of_build, render
from buildfarm.api.problems import RefusedError
from buildfarm.api.routes.builds import BuildId, Position
from buildfarm.farm import Farm
from buildfarm.model import Build
from buildfarm.store.archive.log_text import encode_groups, position_after
from buildfarm.store.archive.member import unpacked
from buildfarm.store.logs import START

GROUPS = "application/x-ndjson"  # each line: position, attempt, phase, and the texts of lines that follow one another
_TAIL_LINES = 500
_MISSING = re.compile(r"\[(\d[\d,]{0,12}) lines are missing here: ")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Tail:
    """The last lines of a log with their numbers, and whether others come before them."""

    lines: tuple[tuple[int, str], ...]
    cut: bool


@router.get("/builds/{build_id}/log")
def text(build_id: BuildId, caller: Visitor) -> StreamingResponse:
    """The whole log as text."""
    found, farm = caller.build(build_id), caller.services.farm
    groups = _groups(farm, found, _packed(farm, found))
    pieces = ("".join(f"{line}\n" for line in json.loads(group)[3]) for group in groups)
    return StreamingResponse(pieces, media_type="text/plain; charset=utf-8")


@router.get("/builds/{build_id}/lines")
def lines(request: Request, build_id: BuildId, caller: Visitor) -> Response:
    """The whole log so far in groups of lines. That of an ended build is sent as it is kept: compressed."""
    found, farm = caller.build(build_id), caller.services.farm
    packed = _packed(farm, found)
    if packed and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type=GROUPS, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return StreamingResponse(_groups(farm, found, packed), media_type=GROUPS)


@router.get("/builds/{build_id}/live")
def live(request: Request, build_id: BuildId, caller: Visitor, after: Position = "0") -> StreamingResponse:
    """The log as it grows, after a position."""
    found = caller.build(build_id)
    after = request.headers.get("last-event-id", after)
    if not after.replace("-", "", 1).isdecimal():
        raise RefusedError(422, "request.invalid", "Last-Event-ID is not a position in this log.")
    services = caller.services
    events = log_events(services.feeds, services.farm.history.whole, found, after, now=True)
    return LiveStream(events, services.streams, caller.token.id)


@router.get("/builds/{build_id}/plain")
def plain(request: Request, build_id: BuildId, caller: Visitor) -> Response:
    """The build's page for a browser that runs no scripts."""
    found, farm = caller.build(build_id), caller.services.farm
    tail = tail_of(_groups(farm, found, _packed(farm, found)))
    return HTMLResponse(render(request, caller, "build.html", tail=tail, **of_build(caller, found)))


def tail_of(groups: Iterable[bytes], most: int = _TAIL_LINES) -> Tail:
    """The last lines of a log that comes in groups."""
    newest: deque[tuple[int, str]] = deque(maxlen=most)
    number = 1
    for text in (text for group in groups for text in json.loads(group)[3]):
        newest.append((number, text))
        number += 1 + _skipped(text)
    return Tail(tuple(newest), cut=bool(newest) and newest[0][0] > 1)


def _skipped(text: str) -> int:
    """How many numbers a line stands for beside its own: missing lines keep theirs, as in static/log/lines.js."""
    missing = _MISSING.match(text)
    return int(missing[1].replace(",", "")) - 1 if missing else 0


def _packed(farm: Farm, build: Build) -> bytes | None:
    return farm.history.packed(build.id) if build.state.final else None


def _groups(farm: Farm, build: Build, packed: bytes | None) -> Iterator[bytes]:
    if packed is None:
        yield from encode_groups(farm.logs(build.id))
        return
    last, rest = b"", b""
    try:
        for piece in unpacked(packed) if packed else ():
            *whole, rest = (rest + piece).split(b"\n")
            for last in whole:
                yield last + b"\n"
    except ValueError:
        # What is damaged is named in a separate line.
        yield from encode_groups(farm.logs(build.id, after=position_after(last) if last else START))
