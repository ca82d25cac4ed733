"""Rollouts, holds and reports of health over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from buildfarm.api.caller import Admin, Caller, Operator, Reader, Submitter, in_turn
from buildfarm.api.problems import responses
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.fields import Frozen, Name
from buildfarm.releases.rollouts.outside import WAIT_SECONDS_MAX
from buildfarm.releases.rollouts.rules.parameters import APPS_MAX, Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport
from buildfarm.releases.rollouts.rules.states import AppState
from buildfarm.releases.rollouts.service import Service
from buildfarm.releases.rollouts.views import HoldView, ImageChange, RolloutApp, RolloutView

router = APIRouter()

PathName = Annotated[Name, Path()]
RolloutId = Annotated[str, Path(pattern=r"^r[1-9]\d{0,9}$")]
ImageDigest = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]
Position = Annotated[str, Query(pattern=r"^(\$|\d{1,15}(-\d{1,10})?)$", description="$: from now on")]

_COMMON = (401, 403, 422, 429, 503)
_DEED = (400, 404, 409, 413, *_COMMON)


class NewRollout(Frozen):
    """Which base a channel's apps are to move to, and how."""

    base: str = Field(max_length=400, description="repository:tag or repository@digest", examples=["builder:v2"])
    channel: str = Field("stable", max_length=40)
    parameters: Parameters = Parameters()


class NewCampaign(Frozen):
    """Which apps are to be rebuilt, and how."""

    where: str = Field(max_length=500, description="a component of apps' own layers", examples=["npm/lodash@<4.17.21"])
    parameters: Parameters = Parameters()


class Why(Frozen):
    """Why it is done; the log of the rollout has it."""

    reason: str = Field("", max_length=500)


class Resumption(Why):
    """Likewise."""

    allow: int = Field(0, ge=0, le=APPS_MAX, description="so many more apps of the wave may fail")


class NewHold(Frozen):
    """Why an app stays on its base, and for how long."""

    reason: str = Field("", max_length=500)
    days: float = Field(7, gt=0, le=366)


@router.post("/v1/rollouts", tags=["rollouts"], status_code=201, responses=responses(*_DEED))
def plan(new: NewRollout, caller: Admin) -> RolloutView:
    """Plan a rollout. The leading node looks which apps can be moved; nothing moves before it is started."""
    found = _service(caller).plan(new.base, new.parameters, new.channel)
    caller.note("rollouts.plan", f"{found.id}: {found.channel} to {found.base}")
    return found


@router.post("/v1/rollouts/rebuilds", tags=["rollouts"], status_code=201, responses=responses(*_DEED))
async def plan_rebuild(new: NewCampaign, caller: Admin) -> RolloutView:
    """Plan a campaign that rebuilds the apps which have a component in their own layers. Nothing is built before it is
    started, as a rollout."""

    def planned() -> RolloutView:
        found = _service(caller).plan_rebuild(new.where, new.parameters)
        caller.note("rollouts.plan", f"{found.id}: rebuild for {new.where}")
        return found

    return await in_turn(caller, caller.services.searches, planned)


@router.get("/v1/rollouts", tags=["rollouts"], responses=responses(*_COMMON))
def rollouts(caller: Operator) -> list[RolloutView]:
    """The newest rollouts, the newest first, without the numbers of their apps."""
    return caller.services.farm.rollouts()


@router.get("/v1/rollouts/{rollout_id}", tags=["rollouts"], responses=responses(404, *_COMMON))
def rollout(rollout_id: RolloutId, caller: Operator) -> RolloutView:
    """A rollout, the number of its apps in each state, and the gate's numbers."""
    return caller.services.farm.rollout(rollout_id)


@router.get("/v1/rollouts/{rollout_id}/apps", tags=["rollouts"], responses=responses(400, 404, *_COMMON))
def rollout_apps(
    rollout_id: RolloutId,
    caller: Operator,
    states: Annotated[str, Query(max_length=200, description="comma-separated; empty: all")] = "",
) -> list[RolloutApp]:
    """A rollout's apps in their order, with the reasons why some do not move."""
    try:
        wanted = [AppState(state) for state in states.split(",") if state]
    except ValueError as error:
        known = ", ".join(AppState)
        raise RequestError(f"{states!r} names no state of an app.", advice=f"The states are: {known}.") from error
    return caller.services.farm.rollout_apps(rollout_id, wanted)


@router.post("/v1/rollouts/{rollout_id}/start", tags=["rollouts"], responses=responses(*_DEED))
def start(rollout_id: RolloutId, why: Why, caller: Admin) -> RolloutView:
    """Start a planned rollout. One that is under way in the channel is superseded."""
    found = _service(caller).start(rollout_id, why.reason)
    return _noted(caller, "rollouts.start", found)


@router.post("/v1/rollouts/{rollout_id}/pause", tags=["rollouts"], responses=responses(*_DEED))
def pause(rollout_id: RolloutId, why: Why, caller: Admin) -> RolloutView:
    """Stop a rollout until it is resumed; a reason is required."""
    found = _service(caller).pause(rollout_id, why.reason)
    return _noted(caller, "rollouts.pause", found)


@router.post("/v1/rollouts/{rollout_id}/resume", tags=["rollouts"], responses=responses(*_DEED))
def resume(rollout_id: RolloutId, why: Resumption, caller: Admin) -> RolloutView:
    """Let a paused rollout go on; a reason is required."""
    found = _service(caller).resume(rollout_id, why.reason, why.allow)
    return _noted(caller, "rollouts.resume", found)


@router.post("/v1/rollouts/{rollout_id}/abort", tags=["rollouts"], responses=responses(*_DEED))
def abort(rollout_id: RolloutId, why: Why, caller: Admin) -> RolloutView:
    """Bring a rollout's apps back to the images that they were on before; a reason is required."""
    found = _service(caller).abort(rollout_id, why.reason)
    return _noted(caller, "rollouts.abort", found)


@router.get("/v1/images/changes", tags=["rollouts"], responses=responses(*_COMMON))
async def image_changes(
    caller: Reader,
    response: Response,
    after: Position = "0",
    wait_seconds: Annotated[float, Query(ge=0, le=WAIT_SECONDS_MAX)] = 0,
) -> list[ImageChange]:
    """Which apps are to run another image, since a position; waits for the next change if there is none.

    The header Buildfarm-Position says where to go on, also if there is none.
    """
    services, read = caller.services, partial(_service(caller).changes, after, wait_seconds, caller.tenant)
    with services.waits.take(caller.token.id):
        found, position = await anyio.to_thread.run_sync(read, limiter=services.wait_threads)
    response.headers["Buildfarm-Position"] = position
    return found


@router.put("/v1/images/{digest}/health", tags=["rollouts"], responses=responses(*_DEED))
def report_health(digest: ImageDigest, report: HealthReport, caller: Submitter) -> bool:
    """Report how an app is on an image. The newest observation of a reporter wins: false if a newer one is known."""
    _own(caller, report.tenant, report.app)
    return caller.services.farm.report_health(digest, report)


@router.put("/v1/apps/{tenant}/{app}/hold", tags=["rollouts"], responses=responses(*_DEED))
def hold(tenant: PathName, app: PathName, new: NewHold, caller: Submitter) -> HoldView:
    """Keep an app on its base for some days, whatever rollouts there are; a reason is required."""
    _own(caller, tenant, app)
    found = _service(caller).hold(f"{tenant}/{app}", new.reason, new.days, by_tenant=caller.tenant is not None)
    caller.note("apps.hold", f"{tenant}/{app} for {new.days:g} days: {new.reason}", tenant=tenant)
    return found


@router.delete("/v1/apps/{tenant}/{app}/hold", tags=["rollouts"], status_code=204, responses=responses(*_DEED))
def release(tenant: PathName, app: PathName, caller: Submitter) -> None:
    """End a hold."""
    _own(caller, tenant, app)
    _service(caller).release(f"{tenant}/{app}", by_tenant=caller.tenant is not None)
    caller.note("apps.release", f"{tenant}/{app}", tenant=tenant)


@router.get("/v1/holds", tags=["rollouts"], responses=responses(*_COMMON))
def holds(caller: Reader) -> list[HoldView]:
    """The apps that people keep on their bases."""
    found = caller.services.farm.holds()
    return [one for one in found if caller.tenant in (None, one.app.partition("/")[0])]


def _service(caller: Caller) -> Service:
    return Service(caller.services.farm, caller.token.name)


def _own(caller: Caller, tenant: str, app: str) -> None:
    """Raises NotFoundError, alike for an app of another tenant and for none at all."""
    if caller.tenant not in (None, tenant):
        raise NotFoundError(f"The app {tenant}/{app} has no image.", advice="Build it first.")


def _noted(caller: Caller, verb: str, found: RolloutView) -> RolloutView:
    caller.note(verb, f"{found.id} {found.goal}: {found.reason}")
    return found
