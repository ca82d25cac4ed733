"""A rollout that a person has to look at: an app in each state, most waiting; those that moved are reported."""

from __future__ import annotations

from collections.abc import Iterable

from buildfarm.farm import Farm
from buildfarm.releases.rollouts.observations import Observations
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import MOVED, App, AppState, Phase, Rollout
from buildfarm.releases.rollouts.store import Rollouts

_REASON = ".venv/lib/python3.13/site-packages/x/_native.abi3.so needs libfoo.so.3, which the new base lacks"
_EVERY = 3  # of so many apps one is not waiting
_SOURCE, _BASE = ("builder@sha256:" + digit * 64 for digit in "12")


def seed_rollout(farm: Farm, names: Iterable[str]) -> str:
    """A paused rollout of these apps; returns its id. It names images that the registry does not have."""
    now = farm.database.now()
    draft = Rollout(
        "", 0, "stable", _SOURCE, _BASE, Parameters(), Phase.PAUSED, Phase.WAVE, wave=1, waves=4, checked=True,
        differences=("libfoo3 is gone",), created_at=now - 7200, since=now - 600, actor="gate",
        reason="2 apps became unhealthy on the new base",
    )  # fmt: skip
    states = tuple(AppState)
    apps = [
        _app(name, states[number // _EVERY % len(states)] if number % _EVERY == 0 else AppState.WAITING, number % 4)
        for number, name in enumerate(names)
    ]
    for number, app in enumerate(one for one in apps if one.state in MOVED):
        _report(farm, app, Status.UNHEALTHY if number % _EVERY == 0 else Status.HEALTHY, now)
    return Rollouts(farm.database).add(draft, apps).id


def _report(farm: Farm, app: App, status: Status, now: float) -> None:
    tenant, _, name = app.name.partition("/")
    Observations(farm.database).put(app.previous, HealthReport(tenant=tenant, app=name, status=status, observed_at=now))


def _app(name: str, state: AppState, wave: int) -> App:
    reasons = (_REASON,) if state in (AppState.NOT_MOVABLE, AppState.FAILED) else ()
    return App(name, state, wave, previous="sha256:" + "3" * 64, previous_base=_SOURCE, reasons=reasons)
