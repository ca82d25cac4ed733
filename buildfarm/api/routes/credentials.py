"""Credentials for private repositories and buildpacks over HTTP: set, and listed without their values."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from buildfarm.api.bodies import CredentialChange
from buildfarm.api.caller import Caller, Reader, Submitter
from buildfarm.api.problems import responses
from buildfarm.errors import RequestError
from buildfarm.fields import Name
from buildfarm.sources.credentials import CredentialView

router = APIRouter()

_COMMON = (401, 403, 422, 429, 503)


@router.get("/v1/credentials", tags=["credentials"], responses=responses(*_COMMON))
def credentials(caller: Reader, tenant: Annotated[Name | None, Query()] = None) -> list[CredentialView]:
    """The credentials of a tenant and its apps: names, addresses and the keys of hosts."""
    return caller.services.farm.credentials(_owner(caller, tenant))


@router.put("/v1/credentials", tags=["credentials"], responses=responses(400, 413, *_COMMON))
def set_credential(change: CredentialChange, caller: Submitter) -> list[CredentialView]:
    """Set, replace or remove a credential. It counts for every attempt that begins from now on."""
    tenant = _owner(caller, change.tenant)
    found = caller.services.farm.set_credential(change.name, change.credential, tenant=tenant, app=change.app)
    verb = "credentials.set" if change.credential else "credentials.remove"
    caller.note(verb, f"{tenant}/{change.app or ''} {change.name}", tenant=tenant)
    return found


def _owner(caller: Caller, named: str | None) -> str:
    """Whose they are. Raises RefusedError, and RequestError if nothing says it."""
    tenant = caller.tenant_of(named)
    if tenant is None:
        raise RequestError("Credentials belong to a tenant.", advice="Name the tenant.")
    return tenant
