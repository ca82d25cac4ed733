"""The sizes of apps' builds over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from buildfarm.api.bodies import AppSize
from buildfarm.api.caller import Caller, Reader, Submitter, noted
from buildfarm.api.problems import responses
from buildfarm.errors import NotFoundError
from buildfarm.fields import Name

router = APIRouter()

PathName = Annotated[Name, Path()]

_COMMON = (401, 403, 404, 422, 429, 503)


@router.get("/v1/apps/{tenant}/{app}/size", tags=["apps"], responses=responses(*_COMMON))
def app_size(tenant: PathName, app: PathName, caller: Reader) -> AppSize:
    """The size of the app's builds that ask for none."""
    _check(caller, tenant, app)
    return AppSize(size=caller.services.farm.app_size(tenant, app))


@router.put("/v1/apps/{tenant}/{app}/size", tags=["apps"], responses=responses(400, 413, *_COMMON))
def set_app_size(tenant: PathName, app: PathName, new: AppSize, caller: Submitter) -> AppSize:
    """Choose the size of the app's builds from the next submit on."""
    _check(caller, tenant, app)
    with noted(caller, "apps.size", f"{tenant}/{app}: {new.size}", tenant=tenant):
        return AppSize(size=caller.services.farm.set_app_size(tenant, app, new.size))


def _check(caller: Caller, tenant: str, app: str) -> None:
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no app {tenant}/{app}.")
