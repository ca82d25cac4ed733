"""The farm itself over HTTP: what it is, whether it is well, its nodes, and its events."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from buildfarm import __version__
from buildfarm.api.bodies import BuilderView, Draining, FarmView, HealthView, NewBuilder, NewOrder
from buildfarm.api.caller import Admin, Caller, Operator, Reader, noted
from buildfarm.api.live.feeds import FeedEntry
from buildfarm.api.live.server_sent import EVENT_STREAM, LiveStream, state_events
from buildfarm.api.problems import responses
from buildfarm.api.services import Services
from buildfarm.errors import RequestError
from buildfarm.model import STABLE
from buildfarm.node import Node, NodeState
from buildfarm.queue.view import QueueView

router = APIRouter()

NodeId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,253}$")]

_TENANTS_MAX = 1000
_COMMON = (401, 403, 422, 429, 503)


@router.get("/healthz", tags=["health"], status_code=204)
async def alive() -> Response:
    """Whether the API runs. It needs no token."""
    return Response(status_code=204)


@router.get(
    "/readyz",
    tags=["health"],
    responses={503: {"model": HealthView, "description": "A service that the farm needs is unreachable"}},
)
async def ready(request: Request, response: Response) -> HealthView:
    """Whether Redis and the registry answer too. It needs no token."""
    services: Services = request.app.state.services
    found = await services.readiness.look()
    response.status_code = 200 if found.ok else 503
    return found


@router.get("/v1/farm", tags=["farm"], responses=responses(*_COMMON))
def farm(caller: Reader) -> FarmView:
    """What a client must know of the farm, and what its token is."""
    settings = caller.services.farm.settings
    return FarmView(
        version=__version__,
        registry=caller.services.farm.registry.host,
        source_bytes=settings.source_bytes,
        tenant=caller.tenant,
        scopes=tuple(sorted(caller.token.scopes)),
        signing_keys=caller.services.farm.signing_keys(),
    )


@router.get("/v1/nodes", tags=["farm"], responses=responses(*_COMMON))
def nodes(caller: Operator) -> list[Node]:
    """The build nodes."""
    return caller.services.farm.nodes()


@router.post("/v1/nodes/{node}/drain", tags=["farm"], status_code=202, responses=responses(400, 404, 413, *_COMMON))
def drain(node: NodeId, caller: Admin) -> Draining:
    """Ask a node to take no more builds, to end those it has, and to leave."""
    caller.services.farm.drain(node)
    caller.note("node.drain", node)
    return Draining(node=node)


@router.get("/v1/builder", tags=["farm"], responses=responses(*_COMMON))
def builder(caller: Operator) -> BuilderView:
    """The builder image, and how many nodes have it."""
    return _builder(caller)


@router.put("/v1/builder", tags=["farm"], responses=responses(400, 404, 413, *_COMMON))
def promote(new: NewBuilder, caller: Admin) -> BuilderView:
    """Make an image of the farm's registry the builder of every node. Builds go on; nodes pull it beside them."""
    farm = caller.services.farm
    promoted = farm.channel_keeper.checked(farm.registry, STABLE, new.reference)
    with noted(caller, "builder.promote", promoted):
        farm.channel_keeper.move(farm.registry, STABLE, promoted, actor=caller.token.name)
    return _builder(caller)


@router.get("/v1/buildpacks", tags=["farm"], responses=responses(*_COMMON))
def buildpacks(caller: Reader) -> tuple[str, ...]:
    """The farm's order of buildpacks, tried on an app that names none; empty: the builder's own order."""
    return caller.services.farm.buildpacks()


@router.put("/v1/buildpacks", tags=["farm"], responses=responses(400, 413, *_COMMON))
def order_buildpacks(new: NewOrder, caller: Admin) -> tuple[str, ...]:
    """Set the farm's order of buildpacks, for builds from now on that name none; empty: the builder's own order."""
    caller.services.farm.order_buildpacks(new.buildpacks)
    caller.note("buildpacks.order", " ".join(new.buildpacks))
    return caller.services.farm.buildpacks()


@router.get("/v1/queue", tags=["queue"], responses=responses(*_COMMON))
def queue(caller: Reader) -> QueueView:
    """How the queue stands: by class, and by tenant. A tenant sees its own part."""
    found = caller.services.farm.queue(_TENANTS_MAX)
    if caller.tenant is None:
        return found
    own = tuple(row for row in found.tenants if row.tenant == caller.tenant)
    return found.model_copy(update={"classes": (), "tenants": own})


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
    last_event_id: Annotated[str, Header(description="where to resume after a lost connection")] = "",
) -> StreamingResponse:
    """Changes of builds' states as they come (server-sent events): `change`, with build, state, attempt and node."""
    position = last_event_id or after
    if last_event_id and not re.fullmatch(r"\d{1,15}(-\d{1,10})?", last_event_id):
        raise RequestError(
            "Last-Event-ID is not a position in the feed.", advice="Send the id of the last event you saw."
        )
    if position == "$":
        position = caller.services.farm.events.last()

    def visible(entry: FeedEntry) -> bool:
        return not entry.fields or caller.tenant in (None, entry.fields.get("tenant"))

    services = caller.services
    return LiveStream(state_events(services.feeds, position, visible), services.streams, caller.token.id)


def _builder(caller: Caller) -> BuilderView:
    current, living = (
        caller.services.farm.builder(),
        [node for node in caller.services.farm.nodes() if node.state is not NodeState.GONE],
    )
    ready = sum(bool(node.builder) and current.endswith(node.builder) for node in living)
    return BuilderView(builder=current, nodes_ready=ready, nodes=len(living))
