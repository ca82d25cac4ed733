"""Two builds side by side, and a search over apps, builds and images."""

from __future__ import annotations

import re
from itertools import islice

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from buildfarm.api.caller import Caller, in_turn
from buildfarm.api.page.apps import AppView
from buildfarm.api.page.comparing.compare import compare
from buildfarm.api.page.comparing.packages import packages_of
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.errors import NotFoundError, RegistryError, RequestError
from buildfarm.model import Build
from buildfarm.releases.facts.components.component import KINDS
from buildfarm.store.keeping.apps import Apps

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_FOUND = 20
_TEXT_MAX = 200
_BUILD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"(?:.*@)?(?:sha256:)?([0-9a-f]{6,64})")


@router.get("/compare")
async def compare_builds(request: Request, caller: Visitor, a: str = "", b: str = "") -> Response:
    """What differs between build ``a`` and the newer ``b``."""
    return await in_turn(caller, caller.services.lists, lambda: _compared(request, caller, a, b))


def _compared(request: Request, caller: Caller, a: str, b: str) -> Response:
    if not (_BUILD_ID.fullmatch(a) and _BUILD_ID.fullmatch(b)):
        raise RequestError("Two builds are compared, by their ids.", advice="Choose them on the page of an app.")
    before, after = caller.build(a), caller.build(b)
    farm = caller.services.farm
    found = compare(before, after, [packages_of(farm, build) for build in (before, after)])
    return HTMLResponse(render(request, caller, "compare.html", here="/apps", before=before, after=after, found=found))


@router.get("/search")
def search(request: Request, caller: Visitor, q: str = "") -> Response:
    """Apps by a part of their name, builds by their id, and images by the beginning of their digest."""
    text = q.strip()[:_TEXT_MAX]
    if build := _build(caller, text):
        return RedirectResponse(f"/builds/{build.id}", 303)
    apps = Apps(caller.services.farm.database).matching(text.lower(), _FOUND, tenant=caller.tenant)
    is_component = re.match(r"(?:pkg:)?([a-z]+)/\S", text)
    names_component = is_component is not None and is_component[1] in KINDS
    values = {
        "q": text,
        "names_component": names_component,
        "apps": [AppView.of(row) for row in apps],
        "builds": _of_image(caller, text.lower()),
    }
    return HTMLResponse(render(request, caller, "search.html", here="", most=_FOUND, **values))


def _build(caller: Caller, build_id: str) -> Build | None:
    try:
        return caller.build(build_id) if _BUILD_ID.fullmatch(build_id) else None
    except NotFoundError:
        return None


def _of_image(caller: Caller, text: str) -> list[Build]:
    """Builds that made an image whose digest begins so; a tenant sees only its own."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        return []
    ids = Apps(caller.services.farm.database).builds_of_image(match[1], tenant=caller.tenant)
    seen = (build for build_id in ids if (build := _seen(caller, build_id)))
    made = (build for build in seen if build.result and build.result.digest.hex.startswith(match[1]))
    return list(islice(made, _FOUND))


def _seen(caller: Caller, build_id: str) -> Build | None:
    """None if it is not to be seen; without a note in the audit log: the visitor did not name the build."""
    try:
        build = caller.services.farm.get(build_id)
    except (NotFoundError, RegistryError):  # its pack is damaged, or the registry unreachable
        return None
    return build if caller.tenant in (None, build.request.tenant) else None
