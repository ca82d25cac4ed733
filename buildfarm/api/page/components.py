"""The page's query for a component: which apps contain it, on which base, since when."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from buildfarm.api.caller import Caller, in_turn
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.errors import RequestError

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SHOWN = 500
_TEXT_MAX = 500


@router.get("/where")
async def where(request: Request, caller: Visitor, q: str = "") -> Response:
    """The apps that contain a component; a tenant sees only its own."""
    text = q.strip()[:_TEXT_MAX]
    if not text:
        return await anyio.to_thread.run_sync(lambda: _answer(request, caller, text))
    return await in_turn(caller, caller.services.searches, lambda: _answer(request, caller, text))


def _answer(request: Request, caller: Caller, text: str) -> Response:
    found, problem = None, ""
    try:
        if text:
            found = caller.services.farm.inventory.where(text, tenant=caller.tenant, limit=_SHOWN)
    except RequestError as error:
        problem = str(error)
    values = {"q": text, "found": found, "problem": problem}
    return HTMLResponse(render(request, caller, "where.html", here="/apps", **values))
