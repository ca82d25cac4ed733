"""The page's settings for operators: limits, retention and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from buildfarm.access import Scope
from buildfarm.api.caller import Caller
from buildfarm.api.page.owners import FIELD_WORDS, owners, values_of
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.api.problems import RefusedError
from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.gc.retention import APP_FIELDS, TENANT_FIELDS, effective

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Settable:
    """What a page lets operators set for tenants and apps."""

    title: str
    place: str
    fields: Sequence[str]
    app_fields: Sequence[str]
    defaults: Callable[[Farm], Mapping[str, float]]  # the farm's, for a tenant
    app_defaults: Callable[[Farm], Mapping[str, float]]  # the farm's, for an app; else the tenant's count
    values: Callable[[Farm], Mapping[str, float]]  # what is set, by owner and field
    change: Callable[[Farm, str, str | None, Values], Values]  # of a tenant or its app; returns what was set


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
    return _page(request, caller, LIMITS, {"owner": owner})


@router.post("/limits")
def set_limits(request: Request, caller: Admin, form: Sent) -> Response:
    """Changes a tenant's or an app's."""
    return _change(request, caller, LIMITS, form)


@router.get("/retention")
def retention(request: Request, caller: Operator, owner: str = "") -> Response:
    """What stays how long."""
    return _page(request, caller, RETENTION, {"owner": owner})


@router.post("/retention")
def set_retention(request: Request, caller: Admin, form: Sent) -> Response:
    """Changes a tenant's or an app's policy."""
    return _change(request, caller, RETENTION, form)


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


def _default_limits(farm: Farm) -> dict[str, float]:
    limits = farm.admission.terms.limits
    return {"running": limits.tenant_running, "waiting": limits.tenant_waiting, "bytes": limits.tenant_bytes}


def _set_limits(farm: Farm, tenant: str, app: str | None, values: Values) -> Values:
    whole = {name: None if value is None else int(value) for name, value in values.items()}
    farm.set_limits(tenant, app, sizes=(), **whole)
    return whole


def _set_retention(farm: Farm, tenant: str, app: str | None, values: Values) -> Values:
    farm.set_retention(tenant, app, **values)
    return values


LIMITS = Settable(
    title="Limits",
    place="/limits",
    fields=("running", "waiting", "bytes"),
    app_fields=("running",),
    defaults=_default_limits,
    app_defaults=lambda farm: {"running": farm.admission.terms.limits.app_running},
    values=Farm.limits_set,
    change=_set_limits,
)
RETENTION = Settable(
    title="Retention",
    place="/retention",
    fields=TENANT_FIELDS,
    app_fields=APP_FIELDS,
    defaults=lambda farm: effective(farm.settings, {}, "").model_dump(),
    app_defaults=lambda _: {},
    values=Farm.retention_set,
    change=_set_retention,
)


def _change(request: Request, caller: Caller, what: Settable, form: Mapping[str, str]) -> Response:
    try:
        tenant, app, values = values_of(form, what.fields, what.app_fields)
        changed = what.change(caller.services.farm, tenant, app, values)
    except BuildfarmError as error:
        return _page(request, caller, what, form, error)
    caller.note(f"{what.place[1:]}.set", f"{tenant}/{app or ''} {changed}", tenant=tenant)
    return RedirectResponse(what.place, 303)


def _page(
    request: Request, caller: Caller, what: Settable, form: Mapping[str, str], problem: BuildfarmError | None = None
) -> Response:
    farm, owner = caller.services.farm, form.get("owner", "")
    found = owners(what.values(farm))
    known = found.get(owner, {})
    filled = {name: form.get(name, known.get(name, "")) for name in what.fields}
    page = render(
        request, caller, "settings.html", here="/limits", what=what, owner=owner, shown=form.get("shown", owner),
        filled=filled, problem=problem, words=FIELD_WORDS, of_app="/" in owner, owners=found,
        defaults=what.defaults(farm), app_defaults=what.app_defaults(farm),
    )  # fmt: skip
    return HTMLResponse(page, 422 if problem else 200)
