"""What a campaign does with an app whose rebuild is refused, waits too long, or ends without an image. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from buildfarm.model import Build, Fault, State
from buildfarm.releases.rollouts.rules.machine import reverted
from buildfarm.releases.rollouts.rules.states import READY, App, AppState, Phase, Rollout

AGAIN_SECONDS = 10.0  # after a rebuild that was refused, or that ended by the farm's fault
REFUSED_SECONDS_MAX = 3600.0  # then the app is left out
UNSERVED_HOURS_MAX = 24  # as the hour, if no node serves the size now: a farm can have no nodes of a size for a night
FARM_FAILURES_MAX = 3


class NotSubmittedError(Exception):
    """A rebuild was refused; the text says why."""

    def __init__(
        self, why: str, *, by_farm: bool = False, by_tenant: bool = False, by_queue: bool = False, hours_max: int = 1
    ) -> None:
        super().__init__(why)
        self.by_farm = by_farm  # all apps wait, however long it takes
        self.by_tenant = by_tenant  # a limit that all apps of the tenant have
        self.by_queue = by_queue  # it is of waiting builds, which may be the campaign's own
        self.hours_max = hours_max  # then the app is left out


def waits(app: App, why: str) -> App:
    """The app when its turn is to come again."""
    return replace(app, state=AppState.WAITING, build="", image="", stopped=False, reasons=(why,))


def refused(app: App, error: NotSubmittedError, others: Iterable[App]) -> App:
    """The app after one more refusal; it is left out if they have taken an hour, or as many hours as they may.

    One that may take more hours comes again as many times later, and each refusal counts the same.

    ``others`` are apps whose rebuilds have been submitted: while one of the tenant is unfinished, a full queue does
    not count, since the campaign itself may fill it.
    """
    is_own = error.by_queue and any(one.tenant == app.tenant and not one.image for one in others)
    seconds = app.refused_seconds + (0.0 if error.by_farm or is_own else AGAIN_SECONDS)
    if seconds < REFUSED_SECONDS_MAX:
        return replace(waits(app, f"{error}"), refused_seconds=seconds)
    long = "an hour" if error.hours_max == 1 else f"{error.hours_max} hours"
    return left_out(app, f"its rebuild was refused for {long}: {error}")


def without_image(app: App, build: Build, rollout: Rollout) -> App:
    """The app when its build has ended without an image."""
    if build.state is State.SUPERSEDED:
        return waits(app, f"a newer build took the place of {build.id}")
    if build.failure is None:
        if rollout.phase is Phase.ABORTING:
            return replace(reverted(app, "its build was ended"), wave=rollout.wave)
        return left_out(app, f"its build {build.id} was cancelled")
    why = f"build {build.id}: {build.failure.message}"
    is_again = rollout.phase is not Phase.ABORTING and app.farm_failures + 1 < FARM_FAILURES_MAX
    if build.failure.fault is Fault.FARM and is_again:
        return replace(waits(app, f"{why} It is built again"), farm_failures=app.farm_failures + 1)
    return replace(reverted(app, why), wave=rollout.wave)


def left_out(app: App, why: str) -> App:
    """The app when the campaign goes on without it; it is on the image that it was on."""
    return replace(app, state=AppState.NOT_MOVABLE, build="", image="", stopped=False, reasons=(why,))


def others_left_out(app: App, apps: Iterable[App], why: str) -> list[App]:
    """The apps of the same tenant that have not been rebuilt, without which the campaign goes on too.

    A later wave begins without them: an app without a ``previous`` image does not count for the wave's budget.
    """
    others = [one for one in apps if one.tenant == app.tenant and one.name != app.name and one.state in READY]
    return [left_out(one if one.wave <= app.wave else replace(one, previous=""), why) for one in others]
