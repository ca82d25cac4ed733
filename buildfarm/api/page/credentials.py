"""The page's credentials of an app: what its builds fetch with, shown without values; and a form to set one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from buildfarm.access import Scope
from buildfarm.api.caller import Caller
from buildfarm.api.page.operating import Sent
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.api.routes.keeping import TenantName
from buildfarm.errors import BuildfarmError, NotFoundError, RequestError
from buildfarm.sources.credentials import Kind, NewCredential

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def owner(tenant: TenantName, app: TenantName, caller: Visitor) -> Caller:
    """A visitor who may see the app. Raises NotFoundError."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no app {tenant}/{app}.", advice="The list of apps has those with builds.")
    return caller


Owner = Annotated[Caller, Depends(owner)]
_PLACE = "/apps/{tenant}/{app}/credentials"


@router.get(_PLACE)
def credentials(request: Request, tenant: TenantName, app: TenantName, caller: Owner) -> Response:
    """The app's own and its tenant's."""
    return _page(request, caller, tenant, app)


@router.post(_PLACE)
def change(request: Request, tenant: TenantName, app: TenantName, caller: Owner, form: Sent) -> Response:
    """Sets a credential of the app or of its tenant, or removes one."""
    caller.require(Scope.SUBMIT)
    name = form.get("name", "")
    scope = None if form.get("scope") == "tenant" else app
    try:
        new = None if "remove" in form else _credential(form)
        caller.services.farm.set_credential(name, new, tenant=tenant, app=scope)
    except BuildfarmError as error:
        return _page(request, caller, tenant, app, error)
    verb = "credentials.set" if new else "credentials.remove"
    caller.note(verb, f"{tenant}/{scope or ''} {name}", tenant=tenant)
    return RedirectResponse(_PLACE.format(tenant=tenant, app=app), 303)


def _credential(form: dict[str, str]) -> NewCredential:
    keys = tuple(line for line in form.get("host_keys", "").splitlines() if line.strip())
    fields = {name: form.get(name, "") for name in ("kind", "address", "value", "user")}
    try:
        asked = {name: name in form for name in ("submodules", "lfs")}
        return NewCredential.model_validate({**fields, "host_keys": keys, **asked})
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])  # never the input, which may be the value
        raise RequestError(f"The field {place} cannot be read.", advice="See docs/private-repositories.md.") from None


def _page(
    request: Request, caller: Caller, tenant: str, app: str, problem: BuildfarmError | None = None
) -> HTMLResponse:
    found = [one for one in caller.services.farm.credentials(tenant) if one.app in (None, app)]
    values = {"tenant": tenant, "app": app, "credentials": found, "problem": problem, "kinds": list(Kind)}
    return HTMLResponse(render(request, caller, "credentials.html", here="/apps", **values), 422 if problem else 200)
