"""What is in images: bills of materials, lists of components, and which apps contain one, over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import anyio
from fastapi import APIRouter, Query, Response

from buildfarm.api.caller import Caller, Reader, in_turn
from buildfarm.api.problems import responses
from buildfarm.errors import NotFoundError
from buildfarm.releases.facts.components.inventory import FORMATS
from buildfarm.releases.facts.components.models import Contents, Places

router = APIRouter()

Image = Annotated[
    str,
    Query(
        min_length=1, max_length=400, description="tenant/app, tenant/app@digest, a build's id, or a base's name:tag"
    ),
]
WithBase = Annotated[bool, Query(description="with the components of the base that it stands on")]
Expression = Annotated[str, Query(min_length=1, max_length=500, description="such as npm/lodash@<4.17.21")]

_COMMON = (401, 403, 422, 429, 503)


class Format(StrEnum):
    """Of a bill of materials."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


@router.get(
    "/v1/sbom",
    tags=["components"],
    response_class=Response,
    responses={200: {"content": {kind: {} for kind, _ in FORMATS.values()}}, **responses(404, *_COMMON)},
)
async def sbom(
    image: Image,
    caller: Reader,
    form: Annotated[Format, Query(alias="format", description="CycloneDX 1.6 or SPDX 2.3")] = Format.CYCLONEDX,
    with_base: WithBase = False,
) -> Response:
    """An image's bill of materials. Its components are in the layers, so equal images have equal bytes.

    503 with `farm.not_read_yet` if nodes are still to read layers of the image, or could not for now.
    """
    farm = caller.services.farm
    seen = await anyio.to_thread.run_sync(lambda: _seen(caller, image))  # may wait for the registry
    content = await in_turn(caller, caller.services.lists, lambda: farm.sbom(seen, form=form, with_base=with_base))
    return Response(content, media_type=FORMATS[form][0])


@router.get("/v1/components", tags=["components"], responses=responses(404, *_COMMON), response_model=Contents)
async def components(image: Image, caller: Reader, with_base: WithBase = False) -> Response:
    """An image's components, with the files that name them. 503 as for the bill of materials."""
    farm = caller.services.farm
    seen = await anyio.to_thread.run_sync(lambda: _seen(caller, image))
    return await in_turn(caller, caller.services.lists, lambda: _json(farm.contents(seen, with_base=with_base)))


@router.get("/v1/where", tags=["components"], responses=responses(*_COMMON), response_model=Places)
async def where(
    expression: Expression, caller: Reader, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> Response:
    """Which apps' newest images contain a component; a tenant's token sees the tenant's own apps."""
    find = caller.services.farm.inventory.where
    searches = caller.services.searches
    return await in_turn(caller, searches, lambda: _json(find(expression, tenant=caller.tenant, limit=limit)))


def _json(found: Contents | Places) -> Response:
    """Made in the thread that has the turn: it takes half a second of twenty thousand components."""
    return Response(found.model_dump_json(), media_type="application/json")


def _seen(caller: Caller, image: str) -> str:
    """The image as repository@digest. Raises NotFoundError, alike for one of others and for none at all."""
    try:
        return "@".join(caller.services.farm.inventory.place(image, tenant=caller.tenant))
    except NotFoundError:
        raise NotFoundError(
            f"There is no image {image[:120]}.", advice="Name it as TENANT/APP or by a build's id."
        ) from None
