"""What a rollout does next by itself. Pure: the engine does it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from buildfarm.releases.rollouts.rules.gate import Gate, measure, next_apps
from buildfarm.releases.rollouts.rules.lead import NO_HOSTS, HostCount, waits_for_hosts
from buildfarm.releases.rollouts.rules.reports import AppHealth, Status
from buildfarm.releases.rollouts.rules.states import MOVED, READY, UNDER_WAY, App, AppState, Phase, Rollout

ENGINE = "rollout engine"  # the actor of what no person did


PLAN_SECONDS = 14 * 86_400.0  # that a plan waits to be started; collections leave what it names


@dataclass(frozen=True)
class Move:
    """Compose and announce these apps on the new base, or rebuild them, in this order."""

    apps: tuple[App, ...]


@dataclass(frozen=True)
class Revert:
    """Announce the previous images of these apps."""

    apps: tuple[App, ...]


@dataclass(frozen=True)
class Turn:
    """The rollout enters another phase."""

    rollout: Rollout


@dataclass(frozen=True)
class Wait:
    """There is nothing to do; why, for people."""

    why: str


Step = Move | Revert | Turn | Wait


def next_step(
    rollout: Rollout,
    apps: Mapping[str, App],
    health: Mapping[str, AppHealth],
    now: float,
    put_off: Container[str] = frozenset(),
    *,
    hosts: HostCount = NO_HOSTS,
) -> Step:
    """What to do now. Apps that are ``put_off`` cannot be moved yet, and leave their room to others."""
    if rollout.phase is Phase.ABORTING:
        moved = tuple(app for app in apps.values() if app.state in UNDER_WAY)
        return Revert(moved) if moved else _turn(rollout, Phase.ABORTED, rollout.reason, now, rollout.actor)
    if not rollout.phase.moves:
        return Wait(f"it is {rollout.phase}")
    gate = measure(rollout, apps, health, now)
    if back := _to_revert(rollout, apps, gate):
        return Revert(back)
    if gate.used_up:
        names = [app.name for app in apps.values() if app.state in (AppState.FAILED, AppState.REVERTED)]
        return _pause(rollout, f"{_count(gate.counted)} {rollout.blame}: {_listed(names)}", now)
    if rollout.phase is Phase.SOAKING:
        return _soaked(rollout, apps, gate, now)
    step = _in_wave(rollout, apps, gate, now, put_off)
    why = waits_for_hosts(rollout, apps, hosts, now) if isinstance(step, Move) else ""
    return Wait(why) if why else step


def expired(rollout: Rollout, now: float) -> Turn | None:
    """The end of a plan that nobody has started in time."""
    if rollout.phase is not Phase.PLANNED or now - rollout.created_at < PLAN_SECONDS:
        return None
    return _turn(rollout, Phase.ABORTED, f"it was not started within {PLAN_SECONDS / 86_400:.0f} days", now)


def observe(app: App, status: Status | None, *, is_running: bool) -> App:
    """The app after its newest report on its image on the new base, or itself."""
    if app.state not in MOVED:
        return app
    if status is Status.HEALTHY:
        return replace(app, state=AppState.HEALTHY, was_unhealthy=False, stopped=False)
    if status is Status.UNHEALTHY:
        if app.was_unhealthy or app.rebuilt:  # the new base need not be to blame
            return replace(app, state=AppState.RUNNING, was_unhealthy=True, stopped=False)
        return replace(app, state=AppState.FAILED, stopped=False)
    if status is Status.STOPPED:
        return replace(app, stopped=True)
    return replace(app, state=AppState.RUNNING) if is_running and app.state is AppState.ANNOUNCED else app


def announced(app: App, now: float, *, was_unhealthy: bool) -> App:
    """The composed or rebuilt app when its tag has moved."""
    return replace(
        app, state=AppState.ANNOUNCED, announced_at=now, was_unhealthy=was_unhealthy, stopped=False, reasons=()
    )


def reverted(app: App, why: str) -> App:
    """The moved app when it is back."""
    return replace(app, state=AppState.REVERTED, reasons=(why,))


def _to_revert(rollout: Rollout, apps: Mapping[str, App], gate: Gate) -> tuple[App, ...]:
    """Failed apps that go back: as many as are not excused. They count against the wave in which they failed."""
    failed = [app for app in apps.values() if app.state is AppState.FAILED]
    if not failed or not rollout.parameters.revert_failed:
        return ()
    gone_back = gate.failures - len(failed)
    return tuple(replace(app, wave=rollout.wave) for app in failed[: max(0, gate.counted - gone_back)])


def _in_wave(rollout: Rollout, apps: Mapping[str, App], gate: Gate, now: float, put_off: Container[str]) -> Step:
    waiting = next_apps(rollout, apps)
    movable = [app for app in waiting if app.name not in put_off]
    nothing_more = 0 < gate.pending == gate.silent and not (gate.room and movable)
    if nothing_more and (waiting or not gate.has_reports):
        seconds = rollout.parameters.report_timeout_seconds
        return _pause(rollout, f"no report of {_count(gate.silent)} within {seconds:g} s of the move", now)
    if waiting:
        return _announce(rollout, movable, gate, now) if movable else Wait("no app can be moved yet")
    if not any(app.state in UNDER_WAY for app in apps.values()):
        return _none_left(rollout, apps, now)
    if gate.pending > gate.silent:
        built = sum(app.state is AppState.BUILDING for app in apps.values())
        return Wait(f"{_count(built)} being rebuilt" if built else f"{gate.pending} apps are not reported yet")
    if not gate.has_reports or (rollout.phase is Phase.CANARY and not gate.running):
        return _pause(rollout, f"only {gate.reported} of the wave's {gate.running} running apps are reported", now)
    return _turn(rollout, Phase.SOAKING, f"wave {rollout.wave + 1} of {rollout.waves} has moved", now)


def _none_left(rollout: Rollout, apps: Mapping[str, App], now: float) -> Step:
    """No app moves or has moved."""
    states = {app.state for app in apps.values()}
    if AppState.REVERTED in states:
        return _pause(rollout, "every app that was moved is on its previous image again", now)
    if rollout.rebuilds and AppState.HELD not in states:
        why = f"no app that can be rebuilt has the component any longer{_unsure(rollout, apps)}"
        return _turn(rollout, Phase.COMPLETE, why, now)
    return Wait("no app can be moved now")


def _announce(rollout: Rollout, waiting: list[App], gate: Gate, now: float) -> Step:
    window = rollout.parameters.window
    if window is not None and not window.is_open(now):
        return Wait("its window is closed")
    if not gate.room:
        return Wait(f"{gate.pending} apps are not reported yet, and {gate.counted} failed, of {gate.budget} allowed")
    return Move(tuple(replace(app, wave=rollout.wave) for app in waiting[: gate.room]))


def _soaked(rollout: Rollout, apps: Mapping[str, App], gate: Gate, now: float) -> Step:
    if (left := rollout.since + rollout.parameters.soak - now) > 0:
        return Wait(f"it soaks for {left:.0f} s more")
    if not gate.has_reports:
        return _pause(rollout, f"after the soak, only {gate.reported} of {gate.running} running apps are reported", now)
    if rollout.wave + 1 >= rollout.waves:
        if any(app.state in READY for app in apps.values()):
            back = "have the component again" if rollout.rebuilds else "have come back to their old base"
            why = f"apps {back}, or are no longer held"
            return _turn(rollout, Phase.WAVE, why, now)
        return _turn(rollout, Phase.COMPLETE, f"every wave has moved and soaked{_unsure(rollout, apps)}", now)
    begun = replace(rollout, wave=rollout.wave + 1, extra_budget=0)
    return _turn(begun, Phase.WAVE, f"wave {begun.wave + 1} of {rollout.waves} begins", now)


def _unsure(rollout: Rollout, apps: Mapping[str, App]) -> str:
    """What a campaign's end leaves open, as the rest of a sentence: apps still have the component or may have it."""
    if not rollout.rebuilds:
        return ""
    left = sum(app.state is AppState.NOT_MOVABLE for app in apps.values())
    unclear = sum(app.state in MOVED and bool(app.reasons) for app in apps.values())
    found = f"; {_count(left)} could not be rebuilt" if left else ""
    return found + (f"; of {_count(unclear)} some files are not known" if unclear else "")


def _pause(rollout: Rollout, why: str, now: float) -> Turn:
    return Turn(
        replace(rollout, phase=Phase.PAUSED, paused_in=rollout.phase, since=now, actor=ENGINE, reason=why[:1000])
    )


def _turn(rollout: Rollout, phase: Phase, why: str, now: float, actor: str = ENGINE) -> Turn:
    return Turn(replace(rollout, phase=phase, since=now, actor=actor, reason=why))


def _count(apps: int) -> str:
    return f"{apps} app" if apps == 1 else f"{apps} apps"


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
