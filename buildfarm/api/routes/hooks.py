"""Push hooks over HTTP: made, listed and removed by tenants; delivered to by forges, whose signature is checked."""

from __future__ import annotations

import asyncio
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from buildfarm.api.caller import Reader, Submitter
from buildfarm.api.problems import responses
from buildfarm.api.services import Services
from buildfarm.api.webhooks.pushes.bodies import Bodies
from buildfarm.api.webhooks.pushes.door import BODY_BYTES_MAX, Door, Received
from buildfarm.fields import Name
from buildfarm.sources.pushes.hook import HookView, NewHook
from buildfarm.store.keeping.push_hooks import OpenHook

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])

HookId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
_COMMON = (401, 403, 422, 429, 503)
_BODY_SECONDS = 30


@router.get("", responses=responses(*_COMMON))
def hooks(caller: Reader, tenant: Annotated[Name | None, Query()] = None) -> list[HookView]:
    """The push hooks, and what became of the newest delivery to each; without their secrets."""
    return caller.services.farm.hooks(caller.tenant_of(tenant))


@router.post("", status_code=201, responses=responses(400, 413, *_COMMON))
def make(new: NewHook, caller: Submitter, request: Request) -> HookView:
    """Make a push hook. Enter its `url` and its `secret` in the forge's settings: the secret is not shown again."""
    known = {"tenant": caller.tenant_of(new.tenant), "page": new.page or str(request.base_url)}
    hook = caller.services.farm.make_hook(new.model_copy(update=known))
    caller.note("hook.make", f"{hook.id} {hook.app} {hook.repository}", tenant=hook.tenant)
    return hook


@router.delete("/{hook_id}", status_code=204, responses=responses(400, 404, 413, *_COMMON))
def remove(hook_id: HookId, caller: Submitter) -> Response:
    """Remove a push hook; the previews of its pull requests end."""
    caller.services.farm.push_hooks.view(hook_id, caller.tenant)
    hook = caller.services.farm.remove_hook(hook_id)
    caller.note("hook.remove", f"{hook.id} {hook.app} {hook.repository}", tenant=hook.tenant)
    return Response(status_code=204)


@router.post(
    "/{hook_id}",
    status_code=202,
    responses=responses(400, 401, 404, 408, 413, 422, 429, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "a payload of the hook's forge, signed as the forge does it",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def deliver(hook_id: HookId, request: Request) -> Received:
    """Take a forge's delivery. It needs no token: the signature counts."""
    services: Services = request.app.state.services
    door = Door(services.farm, services.rates, services.metrics)
    address = request.client.host if request.client else ""
    known = await anyio.to_thread.run_sync(door.admit, hook_id, address)
    with Bodies.of(known.hook) as bodies:
        body = await _body(door, known, request, bodies)
        return await anyio.to_thread.run_sync(door.take, known, dict(request.headers), body, address)


async def _body(door: Door, known: OpenHook, request: Request, bodies: Bodies) -> bytes:
    """The whole body. Raises RefusedError if it is too large or too slow."""
    try:
        body = await asyncio.wait_for(_read(request, bodies), _BODY_SECONDS)
    except TimeoutError:
        problem = (408, "request.slow", f"The body did not arrive within {_BODY_SECONDS} s.", "Deliver it again.")
    except ClientDisconnect:
        problem = (400, "request.unreadable", "The connection ended in the middle of the body.", "Deliver it again.")
    else:
        if body is not None:
            return body
        message = f"The body is larger than {BODY_BYTES_MAX:,} bytes."
        problem = (413, "request.too_large", message, "Push fewer commits at once, or build it: buildfarm build.")
    raise await anyio.to_thread.run_sync(door.refused, known, *problem)


async def _read(request: Request, bodies: Bodies) -> bytes | None:
    """None if it is too large, whatever length was declared."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        return None
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > BODY_BYTES_MAX:
            return None
        bodies.grow(size)
    return b"".join(pieces)
