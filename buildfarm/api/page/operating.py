"""The page's settings for operators: limits, retention and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from buildfarm.access import Scope
from buildfarm.api.caller import Caller
from buildfarm.api.page.owners import FIELD_WORDS, owners, values_of
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.api.problems import RefusedError
from buildfarm.errors import BuildfarmError
from buildfarm.gc.retention import APP_FIELDS, TENANT_FIELDS, effective

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_LIMITS = ("running", "waiting", "bytes")
_LIMITS_OF_APPS = ("running",)


async def sent(request: Request) -> dict[str, str]:
    """The fields of a form, without its files."""
    return {name: value.strip() for name, value in (await request.form()).items() if isinstance(value, str)}


def operator(caller: Visitor) -> Caller:
    """A visitor who may see what concerns all tenants. Raises RefusedError."""
    if caller.tenant is not None:
        raise RefusedError(403, "request.operator", "The settings are shown to the farm's operators only.")
    return caller


def admin(caller: Annotated[Caller, Depends(operator)]) -> Caller:
    """One who may change it, too. Raises RefusedError."""
    caller.require(Scope.ADMIN)
    return caller


Operator = Annotated[Caller, Depends(operator)]
Admin = Annotated[Caller, Depends(admin)]
Sent = Annotated[dict[str, str], Depends(sent)]


@router.get("/limits")
def limits(request: Request, caller: Operator, owner: str = "") -> Response:
    """The limits of tenants and apps."""
    return _limits(request, caller, {"owner": owner})


@router.post("/limits")
def set_limits(request: Request, caller: Admin, form: Sent) -> Response:
    """Changes a tenant's or an app's."""
    try:
        tenant, app, values = values_of(form, _LIMITS, _LIMITS_OF_APPS)
        whole = {name: None if value is None else int(value) for name, value in values.items()}
        caller.services.farm.set_limits(tenant, app, **whole)
    except BuildfarmError as error:
        return _limits(request, caller, form, error)
    caller.note("limits.set", f"{tenant}/{app or ''} {whole}", tenant=tenant)
    return RedirectResponse("/limits", 303)


@router.get("/retention")
def retention(request: Request, caller: Operator, owner: str = "") -> Response:
    """What stays how long."""
    return _retention(request, caller, {"owner": owner})


@router.post("/retention")
def set_retention(request: Request, caller: Admin, form: Sent) -> Response:
    """Changes a tenant's or an app's policy."""
    try:
        tenant, app, values = values_of(form, TENANT_FIELDS, APP_FIELDS)
        caller.services.farm.set_retention(tenant, app, **values)
    except BuildfarmError as error:
        return _retention(request, caller, form, error)
    caller.note("retention.set", f"{tenant}/{app or ''} {values}", tenant=tenant)
    return RedirectResponse("/retention", 303)


@router.get("/tokens")
def tokens(request: Request, caller: Operator) -> Response:
    """The tokens that are valid now; the command line makes them."""
    values = {"tokens": caller.services.tokens.all(), "here": "/limits", "place": "/tokens"}
    return HTMLResponse(render(request, caller, "tokens.html", **values))


@router.post("/tokens/{token_id}/revoke")
def revoke(token_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")], caller: Admin) -> Response:
    """Ends a token, at once."""
    token = caller.services.tokens.revoke(token_id)
    caller.note("token.revoke", f"{token.name} {token_id}", tenant=token.tenant or "")
    return RedirectResponse("/tokens", 303)


def _limits(
    request: Request, caller: Caller, form: Mapping[str, str], problem: BuildfarmError | None = None
) -> Response:
    farm = caller.services.farm
    otherwise = farm.admission.terms.limits
    defaults = {
        "running": otherwise.tenant_running, "waiting": otherwise.tenant_waiting, "bytes": otherwise.tenant_bytes,
    }  # fmt: skip
    values: dict[str, Any] = {"title": "Limits", "place": "/limits", "fields": _LIMITS, "app_fields": _LIMITS_OF_APPS}
    values |= {"defaults": defaults, "app_defaults": {"running": otherwise.app_running}}
    return _page(request, caller, form, problem, values | {"owners": owners(farm.limits_set())})


def _retention(
    request: Request, caller: Caller, form: Mapping[str, str], problem: BuildfarmError | None = None
) -> Response:
    farm = caller.services.farm
    defaults = effective(farm.settings, {}, "").model_dump()
    values: dict[str, Any] = {
        "title": "Retention",
        "place": "/retention",
        "fields": TENANT_FIELDS,
        "app_fields": APP_FIELDS,
    }
    values |= {"defaults": defaults, "app_defaults": {}}
    return _page(request, caller, form, problem, values | {"owners": owners(farm.retention_set())})


def _page(
    request: Request, caller: Caller, form: Mapping[str, str], problem: BuildfarmError | None, values: dict[str, Any]
) -> Response:
    owner = form.get("owner", "")
    known = values["owners"].get(owner, {})
    filled = {name: form.get(name, known.get(name, "")) for name in values["fields"]}
    page = render(
        request, caller, "settings.html", here="/limits", owner=owner, shown=form.get("shown", owner), filled=filled,
        problem=problem, words=FIELD_WORDS, of_app="/" in owner, **values,
    )  # fmt: skip
    return HTMLResponse(page, 422 if problem else 200)
