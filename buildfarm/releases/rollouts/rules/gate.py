"""The gate of a rollout: what is known of its moved apps, and how many more may move. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildfarm.releases.rollouts.rules.cohorts import in_order
from buildfarm.releases.rollouts.rules.reports import AppHealth, Status, excused
from buildfarm.releases.rollouts.rules.states import MOVED, OUTSIDE, READY, UNDER_WAY, App, AppState, Rollout


@dataclass(frozen=True)
class Gate:
    """The numbers by which a rollout goes on or stops."""

    budget: int  # apps that may be unhealthy or unknown at once
    failures: int  # apps that became unhealthy on the new base: of this wave, and of earlier ones if they still are
    excused: int  # as many would have become so without a move, by the apps that have not moved
    pending: int  # moved, and not reported yet
    silent: int  # of these, since longer than the time for a report
    running: int  # apps of this wave that have moved and are meant to run
    reported: int  # of these, with a report that counts
    max_in_flight: int
    min_reports: float

    @property
    def counted(self) -> int:
        """The failures that count against the budget."""
        return max(0, self.failures - self.excused)

    @property
    def room(self) -> int:
        """How many apps may be announced now."""
        return max(0, min(self.budget - self.counted - self.pending, self.max_in_flight - self.pending))

    @property
    def used_up(self) -> bool:
        """Too many apps failed."""
        return self.counted > 0 and self.counted >= self.budget

    @property
    def has_reports(self) -> bool:
        """Whether enough of the wave is known. An app that runs nowhere proves nothing."""
        return self.reported >= self.min_reports * self.running


def measure(rollout: Rollout, apps: Mapping[str, App], health: Mapping[str, AppHealth], now: float) -> Gate:
    """The gate's numbers as they are now."""
    parameters, wave = rollout.parameters, rollout.wave
    found = apps.values()
    size = sum(_is_of_wave(app, rollout) for app in found)
    failed = sum(app.state is AppState.FAILED or (app.state is AppState.REVERTED and app.wave == wave) for app in found)
    moved = [app for app in found if app.wave == wave and (app.state in MOVED or app.state is AppState.REVERTED)]
    waiting = {app.name: app.previous for app in found if app.state in READY}
    running = [app for app in moved if not app.stopped]
    pending = [app for app in found if app.is_pending]
    return Gate(
        budget=max(1, int(parameters.failure_budget * size)) + rollout.extra_budget,
        failures=failed,
        excused=excused(waiting, health, len(moved), now),
        pending=len(pending),
        silent=silent_apps(rollout, pending, now),
        running=len(running),
        reported=sum(_is_reported(app, health, now, rollout.reports_since(app)) for app in running),
        max_in_flight=parameters.max_in_flight,
        min_reports=parameters.min_reports,
    )


def _is_of_wave(app: App, rollout: Rollout) -> bool:
    """Whether an app counts for the wave's budget; so does one that a campaign went on without since the wave began."""
    if app.wave < rollout.wave:
        return app.state in READY
    is_left_out = bool(rollout.rebuilds and app.previous) and app.state is AppState.NOT_MOVABLE
    return app.wave == rollout.wave and (app.state not in OUTSIDE or is_left_out)


def silent_apps(rollout: Rollout, apps: Iterable[App], now: float) -> int:
    """How many of these have moved, and are not reported since longer than the time for a report."""
    since = now - rollout.parameters.report_timeout_seconds
    moved = (app for app in apps if app.is_pending and app.state is not AppState.BUILDING)
    return sum(max(app.announced_at, rollout.resumed_at) < since for app in moved)


def next_apps(rollout: Rollout, apps: Mapping[str, App]) -> list[App]:
    """The apps whose wave has come and that have not moved, in their order."""
    found = [app for app in apps.values() if app.state in READY and app.wave <= rollout.wave]
    if not found and not any(app.state in UNDER_WAY for app in apps.values()):
        # All canaries are outside, or went back and a person has resumed the rollout: the next app is one.
        later = [app for app in apps.values() if app.state in READY]
        first = min((app.wave for app in later), default=0)
        return in_order([app for app in later if app.wave == first], rollout.id)[:1]
    return sorted(in_order(found, rollout.id), key=lambda app: app.wave)


def _is_reported(app: App, health: Mapping[str, AppHealth], now: float, since: float) -> bool:
    if app.state in (AppState.FAILED, AppState.REVERTED):
        return True
    known = health.get(app.name)
    status = known.status(app.image, now, since) if known else None
    return status is Status.HEALTHY or (status is Status.UNHEALTHY and app.was_unhealthy)
