"""The page's apps: a list of them, and one with its builds, its images and where their time went."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from buildfarm.access import Scope
from buildfarm.api.bodies import AFTER_PATTERN
from buildfarm.api.page.charts import phase_chart
from buildfarm.api.page.pages import PageRoute, Visitor, render, signature_of
from buildfarm.api.page.trend import Trend, bytes_trend, seconds_trend
from buildfarm.api.routes.builds import BuildId
from buildfarm.api.routes.keeping import TenantName
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.model import IMAGES, State
from buildfarm.store.keeping.apps import AppRow, Apps

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_LISTED = 25
_BUILDS = 50  # of one app on a page, and in its chart
_AFTER = re.compile(r"(\d{1,15}\.\d{6} [a-z0-9-]{1,30}/[a-z0-9-]{1,30})?")


@dataclass(frozen=True)
class AppView:
    """An app in the list; its trends are of builds that succeeded and were built."""

    row: AppRow
    seconds: Trend
    image_bytes: Trend

    @classmethod
    def of(cls, row: AppRow) -> AppView:
        """The app as the list shows it."""
        built = [one for one in row.endings if one.seconds is not None and one.state == State.SUCCEEDED]
        seconds = seconds_trend([one.seconds for one in built if one.seconds is not None])
        return cls(row, seconds, bytes_trend([one.image_bytes for one in built]))


@router.get("/apps")
def apps(request: Request, caller: Visitor, after: str = "", tenant: str = "") -> Response:
    """The apps that were built last, page by page."""
    if not _AFTER.fullmatch(after):
        raise RequestError(
            "`after` is not a position in the list of apps.", advice="Open the list without it, then follow its links."
        )
    rows, following = Apps(caller.services.farm.database).page(
        _LISTED, tenant=caller.tenant_of(tenant or None), after=after
    )
    values = {"apps": [AppView.of(row) for row in rows], "next": following, "tenant": tenant, "after": after}
    return HTMLResponse(render(request, caller, "apps.html", here="/apps", **values))


@router.get("/apps/{tenant}/{app}")
def app(request: Request, tenant: TenantName, app: TenantName, caller: Visitor, after: str = "") -> Response:
    """One app: what its tag points to, and its builds, the newest first."""
    missing = NotFoundError(f"There is no app {tenant}/{app}.", advice="The list of apps has those with builds.")
    if caller.tenant not in (None, tenant) or not re.fullmatch(AFTER_PATTERN, after):
        raise missing
    farm, lost = caller.services.farm, list[str]()
    found, following = farm.page(_BUILDS, tenant=tenant, app=app, after=after, lost=lost)
    image = farm.records.tag_target(f"apps/{tenant}/{app}")
    if not (found or following or after or lost or image):
        raise missing
    values = {
        "builds": found, "next": following, "lost": lost, "after": after, "image": image, "chart": phase_chart(found),
        "tenant": tenant, "app": app, "reference": f"{farm.registry.host}/apps/{tenant}/{app}",
        "signature": signature_of(farm, f"apps/{tenant}/{app}", image),
        "images": [build.id for build in found if build.result],
    }  # fmt: skip
    return HTMLResponse(render(request, caller, "app.html", here="/apps", **values))


@router.post("/builds/{build_id}/rollback")
def roll_back(build_id: BuildId, caller: Visitor, seen: Annotated[str, Form()] = "") -> Response:
    """Points the app's tag at this build's image, if it still points where the visitor saw it."""
    caller.require(Scope.SUBMIT)
    request = caller.build(build_id).request
    moved = caller.services.farm.roll_back(build_id, seen=seen)
    caller.note("image.roll_back", f"{build_id} {moved.digest}", tenant=request.tenant)
    own = request.tenant == IMAGES  # they have no app's page
    return RedirectResponse(f"/builds/{build_id}" if own else f"/apps/{request.tenant}/{request.app}", 303)
