"""Rollouts, holds and reports of health over HTTP: the calls."""

from __future__ import annotations

from collections.abc import Collection

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport
from buildfarm.releases.rollouts.rules.states import AppState
from buildfarm.releases.rollouts.views import HoldView, ImageChange, RolloutApp, RolloutView


def plan_rollout(base: str, rules: Parameters | None, channel: str) -> Call[RolloutView]:
    """Plans a rollout."""
    body = {"base": base, "channel": channel, "parameters": (rules or Parameters()).model_dump(mode="json")}
    return Call("POST", "/v1/rollouts", wire.decoded(RolloutView), body=body)


def plan_rebuild(where: str, rules: Parameters | None) -> Call[RolloutView]:
    """Plans a campaign."""
    body = {"where": where, "parameters": (rules or Parameters()).model_dump(mode="json")}
    return Call("POST", "/v1/rollouts/rebuilds", wire.decoded(RolloutView), body=body)


def deed(rollout_id: str, what: str, reason: str, allow: int | None = None) -> Call[RolloutView]:
    """Starts, pauses, resumes or aborts it."""
    body = {"reason": reason} | ({} if allow is None else {"allow": allow})
    return Call("POST", f"/v1/rollouts/{rollout_id}/{what}", wire.decoded(RolloutView), body=body)


def rollouts() -> Call[list[RolloutView]]:
    """The newest rollouts."""
    return Call("GET", "/v1/rollouts", wire.decoded(list[RolloutView]))


def rollout(rollout_id: str) -> Call[RolloutView]:
    """One of them."""
    return Call("GET", f"/v1/rollouts/{rollout_id}", wire.decoded(RolloutView))


def rollout_apps(rollout_id: str, states: Collection[AppState]) -> Call[list[RolloutApp]]:
    """Its apps."""
    parameters = {"states": ",".join(states)} if states else {}
    return Call("GET", f"/v1/rollouts/{rollout_id}/apps", wire.decoded(list[RolloutApp]), parameters)


def report_health(digest: str, report: HealthReport) -> Call[bool]:
    """Reports an app's health."""
    return Call("PUT", f"/v1/images/{digest}/health", wire.decoded(bool), body=report.model_dump(mode="json"))


def hold_app(tenant: str, app: str, reason: str, days: float) -> Call[HoldView]:
    """Holds an app."""
    body = {"reason": reason, "days": days}
    return Call("PUT", f"/v1/apps/{tenant}/{app}/hold", wire.decoded(HoldView), body=body)


def release_app(tenant: str, app: str) -> Call[None]:
    """Ends a hold."""
    return Call("DELETE", f"/v1/apps/{tenant}/{app}/hold", lambda _: None)


def holds() -> Call[list[HoldView]]:
    """All holds."""
    return Call("GET", "/v1/holds", wire.decoded(list[HoldView]))


def image_changes(after: str, wait_seconds: float) -> Call[list[ImageChange]]:
    """Which apps are to run another image."""
    parameters = {"after": after, "wait_seconds": f"{wait_seconds:g}"}
    return Call("GET", "/v1/images/changes", wire.decoded(list[ImageChange]), parameters)
