"""Sources over HTTP: a packed directory goes through the API into the registry, and is never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import anyio
from anyio import from_thread
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from buildfarm.api.bodies import SentSource
from buildfarm.api.caller import Caller, Submitter
from buildfarm.api.problems import RefusedError, responses
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.fields import Name
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource

router = APIRouter(prefix="/v1/sources", tags=["sources"])

_TYPES = ("application/gzip", "application/x-gzip", "application/octet-stream")
_COMMON = (401, 403, 422, 429, 503)
Tenant = Annotated[Name | None, Query(description="only with a token for all tenants")]


@router.post(
    "",
    status_code=201,
    responses=responses(400, 408, 413, 415, *_COMMON),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "a gzip-compressed tar archive whose entries lie in one folder: `tar -C APP -czf - .`",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def send(request: Request, caller: Submitter, tenant: Tenant = None) -> SentSource:
    """Send a source, to be named in a build. What the registry has already is not kept twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip() not in _TYPES:
        raise RefusedError(415, "request.media_type", "A source must be sent as application/gzip.")
    owner = await anyio.to_thread.run_sync(_owner, caller, tenant)
    return await keep(caller, owner, request)


@router.get("/{digest}", status_code=204, responses=responses(404, *_COMMON))
def look(
    digest: Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")], caller: Submitter, tenant: Tenant = None
) -> Response:
    """Whether a source is in the registry already: 204, or 404."""
    source = ArtifactSource(repository=f"sources/{_owner(caller, tenant)}", digest=Digest(digest))
    if not caller.services.farm.has_source(source):
        raise NotFoundError(f"There is no source {digest}.", advice="Send it: POST /v1/sources.")
    return Response(status_code=204)


async def keep(caller: Caller, tenant: str, request: Request) -> SentSource:
    """Streams the request's body into the registry. Raises what `Farm.take_source` does, and RefusedError."""
    uploads = caller.services.uploads
    with uploads.slots.take(caller.token.id):
        taken = await _take(caller, tenant, uploads.bounded(request))
    await anyio.to_thread.run_sync(partial(caller.note, "source.send", taken[0].digest, tenant=tenant))
    return SentSource(source=taken[0], sent_bytes=taken[1])


async def _take(caller: Caller, tenant: str, request: Request) -> tuple[ArtifactSource, int]:
    body = request.stream()

    async def next_piece() -> bytes:
        return await anext(body, b"")

    def pieces() -> Iterator[bytes]:
        while piece := from_thread.run(next_piece):
            yield piece

    try:
        return await caller.services.uploads.run(partial(caller.services.farm.take_source, tenant, pieces()))
    except ClientDisconnect as error:
        raise RefusedError(400, "request.unreadable", "The connection ended in the middle of the source.") from error


def _owner(caller: Caller, named: str | None) -> str:
    tenant = caller.tenant_of(named)
    if tenant is None:
        raise RequestError("The request does not name a tenant.", advice="Add ?tenant=NAME to the address.")
    return tenant
