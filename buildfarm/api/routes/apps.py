"""Apps' newest images: shown, and moved to another base, over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, Path

from buildfarm.api.bodies import NewAppChannel, NewRebase
from buildfarm.api.caller import Caller, Orchestrator, Reader, noted
from buildfarm.api.problems import responses
from buildfarm.errors import NotFoundError
from buildfarm.fields import Name
from buildfarm.releases.models import AppChannel, AppImage, Rebase

router = APIRouter()

PathName = Annotated[Name, Path()]

_COMMON = (401, 403, 404, 422, 429, 503)


@router.get("/v1/apps/{tenant}/{app}/image", tags=["apps"], responses=responses(*_COMMON))
def app_image(tenant: PathName, app: PathName, caller: Reader) -> AppImage:
    """An app's newest image, the base that it stands on, and its newest moves to other bases."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"The app {tenant}/{app} has no image.", advice="Build it first.")
    return caller.services.farm.app_image(tenant, app)


@router.get("/v1/apps/{tenant}/{app}/channel", tags=["apps"], responses=responses(*_COMMON))
def app_channel(tenant: PathName, app: PathName, caller: Reader) -> AppChannel:
    """The channel that an app follows, and the base of its next build."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"There is no app {tenant}/{app}.")
    return caller.services.farm.app_channel(tenant, app)


@router.put("/v1/apps/{tenant}/{app}/channel", tags=["apps"], responses=responses(400, 413, *_COMMON))
def set_app_channel(tenant: PathName, app: PathName, new: NewAppChannel, caller: Orchestrator) -> AppChannel:
    """Choose the channel on whose base the app's builds stand, from the next one on."""
    with noted(caller, "apps.channel", f"{tenant}/{app}: {new.channel}", tenant=tenant):
        return caller.services.farm.set_app_channel(tenant, app, new.channel)


@router.post("/v1/apps/{tenant}/{app}/rebase", tags=["apps"], responses=responses(400, 413, *_COMMON))
async def rebase(tenant: PathName, app: PathName, new: NewRebase, caller: Orchestrator) -> Rebase:
    """Move an app's newest image to the base of its channel, or to another base, without a build.

    With `dry_run` nothing is written, and the answer is what would be.
    """
    with caller.services.moves.take(caller.token.id):
        return await anyio.to_thread.run_sync(partial(_move, tenant, app, new, caller))


def _move(tenant: str, app: str, new: NewRebase, caller: Caller) -> Rebase:
    found = caller.services.farm.rebase(tenant, app, base=new.base, dry_run=new.dry_run, older=new.older)
    if found.moved:
        caller.note("apps.rebase", f"{tenant}/{app}: {found.previous} to {found.image} on {found.base}", tenant=tenant)
    return found
