"""Limits, retention and images in use over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from buildfarm.api.bodies import NewInUse, NewLimits, NewRetention
from buildfarm.api.caller import Admin, Operator, Orchestrator, Reader
from buildfarm.api.problems import responses
from buildfarm.errors import NotFoundError
from buildfarm.fields import Name
from buildfarm.gc.retention import InUse, Retention
from buildfarm.queue.view import Limits

router = APIRouter()

TenantName = Annotated[Name, Path()]

_COMMON = (401, 403, 422, 429, 503)


@router.get("/v1/limits", tags=["queue"], responses=responses(*_COMMON))
def limits_set(caller: Operator) -> dict[str, int]:
    """The limits that were set: `tenant:running`, `tenant:waiting` and `tenant/app:running`."""
    return caller.services.farm.limits_set()


@router.get("/v1/limits/{tenant}", tags=["queue"], responses=responses(404, *_COMMON))
def limits(tenant: TenantName, caller: Reader, app: Name | None = None) -> Limits:
    """What a tenant may have running and waiting at once, and each of its apps."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no tenant {tenant}.")
    return caller.services.farm.limits(tenant, app)


@router.put("/v1/limits/{tenant}", tags=["queue"], responses=responses(400, 413, *_COMMON))
def set_limits(tenant: TenantName, new: NewLimits, caller: Admin) -> Limits:
    """Change a tenant's limits, or one app's; null goes back to the farm's settings. They count at once."""
    values = new.model_dump(include=new.model_fields_set - {"app", "sizes"})
    sizes: tuple[str, ...] | None = new.sizes if "sizes" in new.model_fields_set else ()
    found = caller.services.farm.set_limits(tenant, new.app, sizes=sizes, **values)
    told = {**values, **({} if sizes == () else {"sizes": sizes})}
    caller.note("limits.set", f"{tenant}/{new.app or ''} {told}", tenant=tenant)
    return found


@router.get("/v1/usage/{tenant}", tags=["queue"], responses=responses(404, *_COMMON))
def usage(tenant: TenantName, caller: Reader) -> dict[str, int]:
    """A tenant's bytes in the registry by what they are: `sources`, `caches`, `apps` (images) and `archive`."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no tenant {tenant}.")
    return caller.services.farm.usage(tenant)


@router.get("/v1/retention", tags=["retention"], responses=responses(*_COMMON))
def retention_set(caller: Operator) -> dict[str, float]:
    """The values that were set: `tenant:images`, `tenant/app:image_days` and so on."""
    return caller.services.farm.retention_set()


@router.get("/v1/retention/{tenant}", tags=["retention"], responses=responses(404, *_COMMON))
def retention(tenant: TenantName, caller: Reader, app: Name | None = None) -> Retention:
    """What of a tenant, or of one of its apps, stays how long."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no tenant {tenant}.")
    return caller.services.farm.retention(tenant, app)


@router.put("/v1/retention/{tenant}", tags=["retention"], responses=responses(400, 413, *_COMMON))
def set_retention(tenant: TenantName, new: NewRetention, caller: Admin) -> Retention:
    """Change a policy; null goes back to the tenant's or the farm's. What would delete running images is refused."""
    values = new.model_dump(include=new.model_fields_set - {"app"})
    found = caller.services.farm.set_retention(tenant, new.app, **values)
    caller.note("retention.set", f"{tenant}/{new.app or ''} {values}", tenant=tenant)
    return found


@router.get("/v1/images/in-use", tags=["retention"], responses=responses(*_COMMON))
def images_in_use(caller: Operator) -> list[InUse]:
    """The images that are reported as running, by reporter."""
    return caller.services.farm.images_in_use()


@router.put("/v1/images/in-use", tags=["retention"], responses=responses(400, 413, *_COMMON))
def report_in_use(new: NewInUse, caller: Orchestrator) -> InUse:
    """Replace what a reporter has running. These images are never removed, for so many days."""
    found = caller.services.farm.report_in_use(new.images, days=new.days, reporter=new.reporter)
    caller.note("images.in_use", f"{new.reporter}: {len(found.images)}")
    return found
