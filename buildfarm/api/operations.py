"""The farm itself over HTTP: what it is, whether it is well, its nodes, and its events."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from buildfarm.api.bodies import FarmView, Health
from buildfarm.api.caller import Operator, Reader
from buildfarm.api.feeds import Entry
from buildfarm.api.problems import responses
from buildfarm.api.services import Services
from buildfarm.api.stream import EVENT_STREAM, state_events
from buildfarm.errors import BuildfarmError, RequestError
from buildfarm.model import Node
from buildfarm.version import VERSION

router = APIRouter()

_COMMON = (401, 403, 422, 429, 503)


@router.get("/healthz", tags=["health"], status_code=204)
def alive() -> Response:
    """Whether the API runs. It needs no token."""
    return Response(status_code=204)


@router.get("/readyz", tags=["health"], responses={503: {"model": Health, "description": "A part is away"}})
def ready(request: Request, response: Response) -> Health:
    """Whether Redis and the registry answer too. It needs no token."""
    services: Services = request.app.state.services
    farm = services.farm
    redis, registry = _answers(farm.database.uptime_seconds), _answers(farm.registry.ping)
    response.status_code = 200 if redis and registry else 503
    return Health(ok=redis and registry, redis=redis, registry=registry)


@router.get("/v1/farm", tags=["farm"], responses=responses(*_COMMON))
def farm(caller: Reader) -> FarmView:
    """What a client must know of the farm, and what its token is."""
    settings = caller.services.farm.settings
    return FarmView(
        version=VERSION,
        registry=caller.services.farm.registry.host,
        source_bytes=settings.source_bytes,
        tenant=caller.tenant,
        scopes=tuple(sorted(caller.token.scopes)),
    )


@router.get("/v1/nodes", tags=["farm"], responses=responses(*_COMMON))
def nodes(caller: Operator) -> list[Node]:
    """The build nodes."""
    return caller.services.farm.nodes()


@router.get(
    "/v1/events/live",
    tags=["events"],
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
        **responses(*_COMMON),
    },
)
def live_events(
    caller: Reader,
    after: Annotated[str, Query(pattern=r"^(\$|\d{1,15}(-\d{1,10})?)$", description="$: from now on")] = "$",
    last_event_id: Annotated[str, Header(description="where to go on after a cut")] = "",
) -> StreamingResponse:
    """Changes of builds' states as they come (server-sent events): `change`, with build, state, attempt and node."""
    position = last_event_id or after
    if last_event_id and not re.fullmatch(r"\d{1,15}(-\d{1,10})?", last_event_id):
        raise RequestError("Last-Event-ID is no position.", advice="Send the id of the last event you saw.")
    if position == "$":
        position = caller.services.farm.events.last()

    def visible(entry: Entry) -> bool:
        return not entry.fields or caller.tenant in (None, entry.fields.get("tenant"))

    return StreamingResponse(state_events(caller.services.feeds, position, visible), media_type=EVENT_STREAM)


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except BuildfarmError:
        return False
    return True
