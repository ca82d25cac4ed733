"""Build variables over HTTP: set, and listed without their values."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from buildfarm.access import Scope
from buildfarm.api.bodies import NewVariables
from buildfarm.api.caller import Caller, Reader, authenticate
from buildfarm.api.problems import RefusedError, responses
from buildfarm.config_vars.build_variables import VariableView
from buildfarm.fields import Name

router = APIRouter()


def _may_set(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """The caller, if its token has one of the scopes that set variables. Raises RefusedError."""
    if Scope.ADMIN not in caller.token.scopes:
        caller.require(Scope.SUBMIT)
    return caller


Setter = Annotated[Caller, Depends(_may_set)]

_COMMON = (401, 403, 422, 429, 503)


@router.get("/v1/variables", tags=["variables"], responses=responses(*_COMMON))
def variables(caller: Reader, tenant: Annotated[Name | None, Query()] = None) -> list[VariableView]:
    """The names of the farm's build variables, and of a tenant's with those of its apps."""
    return caller.services.farm.variables(caller.tenant_of(tenant))


@router.put("/v1/variables", tags=["variables"], responses=responses(400, 413, *_COMMON))
def set_variables(new: NewVariables, caller: Setter) -> list[VariableView]:
    """Set build variables of the farm, a tenant or an app. They count for every attempt that begins from now on.

    The farm's and a tenant's are for operators with the scope `admin`; those of an app also for its tenant.
    """
    tenant = _owner(new, caller)
    found = caller.services.farm.set_variables(new.variables, tenant=tenant, app=new.app)
    where = f"{tenant}/{new.app or ''}" if tenant else "farm"
    for verb, names in (
        ("variables.set", [name for name, variable in new.variables.items() if variable is not None]),
        ("variables.unset", [name for name, variable in new.variables.items() if variable is None]),
    ):
        if names:
            caller.note(verb, f"{where} {', '.join(sorted(names))}", tenant=tenant or "")
    return found


def _owner(new: NewVariables, caller: Caller) -> str | None:
    """Whose variables they are. Raises RefusedError if the caller may not set them."""
    if caller.tenant is not None and new.app is not None:
        return caller.tenant_of(new.tenant)
    caller.require(Scope.ADMIN)
    if caller.tenant is not None:
        caller.note("operator.use", "", "denied")
        raise RefusedError(
            403, "request.operator", "The variables of the farm and of tenants are for the farm's operators.",
            advice="Name one of your apps.",
        )  # fmt: skip
    return new.tenant
