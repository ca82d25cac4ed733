"""What people do to a rollout: start, pause, resume and abort it, each with a reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from buildfarm.errors import ConflictError, RequestError
from buildfarm.releases.rollouts.rules.cohorts import in_waves
from buildfarm.releases.rollouts.rules.gate import measure
from buildfarm.releases.rollouts.rules.reports import AppHealth
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout

REASON_MAX = 500


@dataclass(frozen=True)
class Deed:
    """Who does it, when, and why."""

    at: float
    actor: str
    reason: str


def start(
    rollout: Rollout, apps: Mapping[str, App], others: Sequence[Rollout], deed: Deed
) -> tuple[Rollout, list[App], Rollout | None]:
    """The started rollout, its apps with their waves, and the rollout of the channel whose place it takes, superseded.

    ``others`` are the farm's other rollouts. Raises ConflictError.
    """
    if rollout.phase is not Phase.PLANNED:
        raise _not_now(rollout, "started")
    if not rollout.checked:
        raise ConflictError(
            f"The apps of rollout {rollout.id} are still being looked at.", advice="Try again when that is done."
        )
    if left := next((one for one in others if _has_left(one, rollout)), None):
        raise ConflictError(
            f"The channel {rollout.channel} has left {rollout.base} with rollout {left.id}.",
            advice="No app goes to an older base in a rollout. Make a new base; or move single apps: apps rebase.",
        )
    waiting, waves = in_waves(apps.values(), rollout.id, rollout.parameters)
    if not waiting:
        raise ConflictError(
            f"Rollout {rollout.id} has no app that can be {'rebuilt' if rollout.rebuilds else 'moved'}.",
            advice="buildfarm rollouts show says why.",
        )
    before = next((one for one in others if one.channel == rollout.channel and one.phase.active), None)
    if before is not None and (before.rebuilds or rollout.rebuilds):
        raise ConflictError(
            f"Rollout {before.id} is {before.phase}, and a campaign and another rollout cannot change the same apps.",
            advice="Wait until it has ended, or abort it.",
        )
    if before is not None and (before.phase is Phase.ABORTING or before.number > rollout.number):
        raise ConflictError(
            f"Rollout {before.id} of the channel {rollout.channel} is {before.phase}.",
            advice="Wait until it has ended." if before.phase is Phase.ABORTING else "Plan a new rollout.",
        )
    begun = replace(rollout, phase=Phase.CANARY, waves=waves, since=deed.at, actor=deed.actor, reason=deed.reason)
    ended = before and replace(
        before, phase=Phase.SUPERSEDED, since=deed.at, actor=deed.actor, reason=f"rollout {rollout.id} took its place"
    )
    return begun, waiting, ended


def pause(rollout: Rollout, deed: Deed) -> Rollout:
    """Stops it until a person resumes it. Raises ConflictError, and RequestError without a reason."""
    if not rollout.phase.moves:
        raise _not_now(rollout, "paused")
    return replace(
        rollout,
        phase=Phase.PAUSED,
        paused_in=rollout.phase,
        since=deed.at,
        actor=deed.actor,
        reason=checked(deed.reason, "A pause"),
    )


def resume(
    rollout: Rollout, apps: Mapping[str, App], health: Mapping[str, AppHealth], deed: Deed, extra: int = 0
) -> Rollout:
    """Lets it go on where it was paused; the time for reports, and a soak, begin anew.

    ``extra`` apps of the wave may fail beyond the budget. Raises ConflictError if it would pause again at once, and
    RequestError without a reason.
    """
    if rollout.phase is not Phase.PAUSED or rollout.paused_in is None:
        raise _not_now(rollout, "resumed")
    resumed = replace(
        rollout, phase=rollout.paused_in, paused_in=None, since=deed.at, resumed_at=deed.at, actor=deed.actor,
        reason=checked(deed.reason, "To resume"), extra_budget=rollout.extra_budget + extra,
    )  # fmt: skip
    gate = measure(resumed, apps, health, deed.at)
    if gate.used_up:
        raise ConflictError(
            f"{gate.counted} of the wave's apps failed, and {gate.budget} may be unhealthy.",
            advice="Abort the rollout; or allow more failures of this wave when you resume it (--allow).",
        )
    return resumed


def abort(rollout: Rollout, deed: Deed) -> Rollout:
    """All of its moved apps go back. Raises ConflictError, and RequestError without a reason."""
    if rollout.phase.final or rollout.phase is Phase.ABORTING:
        raise _not_now(rollout, "aborted")
    phase = Phase.ABORTED if rollout.phase is Phase.PLANNED else Phase.ABORTING
    return replace(rollout, phase=phase, since=deed.at, actor=deed.actor, reason=checked(deed.reason, "An abort"))


def hold(app: App, reason: str) -> App:
    """The app when a person keeps it on its base; it stays as it is if it has moved."""
    if app.state in (AppState.WAITING, AppState.COMPOSED, AppState.UNCHECKED):
        return replace(app, state=AppState.HELD, reasons=(reason,))
    return app


def release(app: App, rollout: Rollout) -> App:
    """The app when nobody holds it any longer: it moves in the last wave."""
    if app.state is AppState.HELD:
        return replace(app, state=AppState.WAITING, wave=max(0, rollout.waves - 1), reasons=())
    return app


def checked(reason: str, what: str) -> str:
    """A reason as it is kept. Raises RequestError if there is none."""
    if not reason.strip():
        raise RequestError(f"{what} needs a reason.", advice="Other people read it later: say why.")
    if len(reason) > REASON_MAX or not reason.isprintable():
        raise RequestError(f"A reason is one line of at most {REASON_MAX} characters.")
    return reason.strip()


def _has_left(other: Rollout, rollout: Rollout) -> bool:
    """One that was superseded has not moved the channel; the one that took its place counts."""
    moved_on = other.phase is Phase.COMPLETE or other.phase.active
    return (
        moved_on
        and not rollout.rebuilds
        and other.channel == rollout.channel
        and rollout.base == other.source != other.base
    )


def _not_now(rollout: Rollout, what: str) -> ConflictError:
    return ConflictError(
        f"Rollout {rollout.id} is {rollout.phase} and cannot be {what}.", advice="buildfarm rollouts show prints it."
    )
