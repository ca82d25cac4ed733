"""The page's rollouts, for operators: a list, and one with its waves, the gate's numbers and its apps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from buildfarm.access import Scope
from buildfarm.api.page.operating import Operator
from buildfarm.api.page.pages import PageRoute, live
from buildfarm.api.routes.rollouts import RolloutId
from buildfarm.releases.rollouts.rules.cohorts import in_order
from buildfarm.releases.rollouts.rules.states import OUTSIDE, App, AppState
from buildfarm.releases.rollouts.service import Service
from buildfarm.releases.rollouts.views import app_view

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_LISTED = 200
# What a person must look at stands first; what goes well, last.
_ORDER = (
    AppState.FAILED, AppState.REVERTED, AppState.BUILDING, AppState.ANNOUNCED, AppState.RUNNING, AppState.NOT_MOVABLE,
    AppState.HELD, AppState.COMPOSED, AppState.WAITING, AppState.UNCHECKED, AppState.HEALTHY, AppState.FROZEN,
    AppState.UNMOVED,
)  # fmt: skip
_RANK = {state: rank for rank, state in enumerate(_ORDER)}


def waves_of(apps: list[App]) -> list[tuple[int, dict[AppState, int]]]:
    """Each wave with the number of its apps in each state; apps that no wave moves are in none."""
    found: dict[int, dict[AppState, int]] = {}
    for app in apps:
        if app.state not in OUTSIDE:
            counts = found.setdefault(app.wave, {})
            counts[app.state] = counts.get(app.state, 0) + 1
    return [
        (wave + 1, {state: counts[state] for state in _ORDER if state in counts})
        for wave, counts in sorted(found.items())
    ]


def first_of(apps: list[App], rollout_id: str) -> list[App]:
    """Those that are listed, in their order; those that come later are not put in order."""
    places: dict[tuple[int, int], list[App]] = {}
    for app in apps:
        places.setdefault((_RANK[app.state], app.wave), []).append(app)
    found: list[App] = []
    for place in sorted(places):
        if len(found) < _LISTED:
            found += in_order(places[place], rollout_id)
    return found[:_LISTED]


@router.get("/rollouts")
def rollouts(request: Request, caller: Operator) -> Response:
    """The newest ones."""
    values = {"rollouts": caller.services.farm.rollouts(), "here": "/apps"}
    return live(request, caller, "rollouts", "/rollouts?", values)


@router.get("/rollouts/{rollout_id}")
def rollout(request: Request, rollout_id: RolloutId, caller: Operator, state: str = "") -> Response:
    """One of them."""
    view, apps = Service(caller.services.farm, caller.token.name).with_apps(rollout_id)
    state = state if state in tuple(AppState) else ""
    chosen = [app for app in apps if state in ("", app.state)]
    values = {
        "rollout": view, "waves": waves_of(apps), "state": state, "here": "/apps",
        "apps": [app_view(app) for app in first_of(chosen, rollout_id)], "more": max(0, len(chosen) - _LISTED),
    }  # fmt: skip
    return live(request, caller, "rollout", f"/rollouts/{rollout_id}?state={state}", values)


@router.post("/rollouts/{rollout_id}/{deed}")
def change(
    rollout_id: RolloutId,
    deed: Annotated[str, Path(pattern="^(start|pause|resume|abort)$")],
    caller: Operator,
    reason: Annotated[str, Form()] = "",
    allow: Annotated[int, Form()] = 0,
) -> Response:
    """Starts, pauses, resumes or aborts it."""
    caller.require(Scope.ADMIN)
    service = Service(caller.services.farm, caller.token.name)
    if deed == "resume":
        found = service.resume(rollout_id, reason, allow)
    else:
        found = {"start": service.start, "pause": service.pause, "abort": service.abort}[deed](rollout_id, reason)
    caller.note(f"rollouts.{deed}", f"{found.id} {found.goal}: {found.reason}")
    return RedirectResponse(f"/rollouts/{rollout_id}", 303)
