"""A rollout's waves, windows and gate, as tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest
from pydantic import ValidationError

from buildfarm.errors import ConflictError, RequestError
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.cohorts import in_waves
from buildfarm.releases.rollouts.rules.machine import Move, Revert, Turn, Wait, announced, next_step, observe
from buildfarm.releases.rollouts.rules.parameters import Parameters, Severity
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import AppHealth, HealthReport, Observation, Status, excused
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout
from buildfarm.releases.rollouts.rules.window import Window

NOW = 1_000_000.0
FAR = NOW + 1e6


def waiting(count):
    return [App(f"t/a{number}", AppState.WAITING, previous="old") for number in range(count)]


def rollout(phase=Phase.WAVE, **fields):
    return Rollout("r1", 1, "stable", "b@old", "b@new", phase=phase, waves=3, since=NOW, **fields)


def moved(name, state=AppState.ANNOUNCED, wave=1, at=NOW, **fields):
    return App(name, state, wave=wave, image="new", previous="old", announced_at=at, **fields)


def health(image, status, turned_at=0.0):
    return AppHealth((Observation(image, "o", status, FAR, turned_at),))


def apps(*found):
    return {app.name: app for app in found}


@pytest.mark.parametrize(
    ("count", "canaries", "sizes"),
    [
        (1, (), [1]),
        (2, (), [1, 1]),
        (10, (), [1, 2, 7]),
        (1000, (), [1, 9, 40, 200, 750]),
        (1000, ("t/a3", "t/a4"), [2, 8, 40, 200, 750]),
    ],
    ids=["one", "two", "ten", "a thousand", "canaries"],
)
def test_cohorts_grow(count, canaries, sizes):
    found, waves = in_waves(waiting(count), "r1", Parameters(canaries=canaries))
    assert [Counter(app.wave for app in found)[wave] for wave in range(waves)] == sizes
    assert {app.name for app in found if app.wave == 0} >= set(canaries)


def test_each_rollout_has_another_order():
    orders = [[app.name for app in in_waves(waiting(50), rollout_id, Parameters())[0]] for rollout_id in ("r1", "r2")]
    assert orders[0] != orders[1]
    assert orders[0] == [app.name for app in in_waves(waiting(50)[::-1], "r1", Parameters())[0]]


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("2026-11-24T09:00+01:00", True),
        ("2026-11-24T08:59+01:00", False),
        ("2026-11-24T17:00+01:00", False),
        ("2026-11-29T12:00+01:00", False),
        ("2026-07-07T09:30+02:00", True),
    ],
    ids=["begins", "before", "ends", "a sunday", "in summer time"],
)
def test_a_window_is_hours_of_its_zone(time, is_open):
    window = Window(days=("mon", "tue", "wed", "thu"), hours=(9, 17), zone="Europe/Paris")
    assert window.is_open(datetime.fromisoformat(time).timestamp()) is is_open


@pytest.mark.parametrize(("hour", "is_open"), [("23T22", True), ("24T03", True), ("24T22", False), ("23T03", False)])
def test_a_night_belongs_to_the_day_it_begins_on(hour, is_open):
    window = Window(days=("mon",), hours=(22, 4))
    assert window.is_open(datetime.fromisoformat(f"2026-11-{hour}:00+00:00").timestamp()) is is_open


@pytest.mark.parametrize(
    "wrong",
    [
        {"cohorts": ("1", "50%")},
        {"cohorts": ("0", "100%")},
        {"cohorts": ("200%", "100%")},
        {"freeze": ("Not/An/App",)},
        {"window": {"zone": "Mars/Base"}},
        {"window": {"days": ("someday",)}},
        {"window": {"hours": (4, 4)}},
        {"window": {"hours": (24, 0)}},
        {"min_reports": 0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_parameters_without_meaning_are_refused(wrong):
    with pytest.raises(ValidationError):
        Parameters.model_validate(wrong)


def test_an_urgent_rollout_soaks_for_less_time():
    assert Parameters(severity=Severity.URGENT).soak == 600
    assert Parameters().soak == 3600


def step(phase, found, seen=None, now=NOW, **fields):
    return next_step(rollout(phase, **fields), apps(*found), seen or {}, now)


def test_no_more_are_announced_than_the_budget_leaves():
    later = [replace(app, wave=1) for app in waiting(300)]
    budget = Parameters(failure_budget=0.05)
    first = step(Phase.WAVE, later, wave=1, parameters=budget)
    assert isinstance(first, Move)
    assert len(first.apps) == 15
    there = {app.name: announced(replace(app, image="new"), NOW, was_unhealthy=False) for app in first.apps}
    known = [there.get(app.name, app) for app in later]
    assert isinstance(step(Phase.WAVE, known, wave=1, parameters=budget), Wait)
    healthy = dict(list(there.items())[:4])
    known = [observe(app, Status.HEALTHY if app.name in healthy else None, is_running=False) for app in known]
    more = step(Phase.WAVE, known, wave=1, parameters=budget)
    assert isinstance(more, Move)
    assert len(more.apps) == 4


def test_a_canary_that_fails_goes_back_and_pauses_the_rollout():
    failed = moved("t/a0", AppState.FAILED, wave=0)
    found = step(Phase.CANARY, [failed, *waiting(3)[1:]])
    assert found == Revert((failed,))
    back = replace(failed, state=AppState.REVERTED)
    found = step(Phase.CANARY, [back, *waiting(3)[1:]])
    assert isinstance(found, Turn)
    assert (found.rollout.phase, found.rollout.paused_in) == (Phase.PAUSED, Phase.CANARY)
    assert found.rollout.reason == "1 app became unhealthy on the new base: t/a0"


def test_failures_that_apps_without_a_move_have_too_are_no_reason_to_stop():
    """An outage of something that all apps use: as many of those that have not moved turn unhealthy."""
    before = [replace(app, wave=2) for app in waiting(10)]
    seen = {app.name: health("old", Status.UNHEALTHY if at < 5 else Status.HEALTHY, NOW if at < 5 else 0)
            for at, app in enumerate(before)}  # fmt: skip
    keep = Parameters(revert_failed=False, soak_seconds=0)
    wave = [moved(f"t/m{number}", AppState.HEALTHY if number else AppState.FAILED) for number in range(4)]
    seen |= {app.name: health("new", Status.HEALTHY) for app in wave}
    found = step(Phase.SOAKING, [*wave, *before], seen, wave=1, parameters=keep)
    assert isinstance(found, Turn)
    assert found.rollout.phase is Phase.WAVE
    old = {app.name: "old" for app in before}
    assert excused(old, seen, 4, NOW) == 2
    assert excused(old, seen, 700, NOW) == 5, "no more than have turned"
    assert excused(old, seen, 4, NOW + 3601) == 0
    assert excused(dict(list(old.items())[:4]), seen, 700, NOW) == 0, "too few are known"
    alone = step(Phase.SOAKING, wave, seen, wave=1, parameters=keep)
    assert isinstance(alone, Turn)
    assert alone.rollout.phase is Phase.PAUSED


def test_no_report_is_not_health():
    silent = [moved("t/a0", wave=0), *[replace(app, wave=1) for app in waiting(3)[1:]]]
    assert isinstance(step(Phase.CANARY, silent, now=NOW + 899), Wait)
    found = step(Phase.CANARY, silent, now=NOW + 901)
    assert isinstance(found, Turn)
    assert found.rollout.phase is Phase.PAUSED
    assert found.rollout.reason == "no report of 1 app within 900 s of the move"
    resumed = persons.resume(found.rollout, apps(*silent), {}, Deed(NOW + 5000, "ops", "the reporter was down"))
    assert isinstance(next_step(resumed, apps(*silent), {}, NOW + 5800), Wait)
    again = next_step(resumed, apps(*silent), {}, NOW + 5901)
    assert isinstance(again, Turn)
    assert again.rollout.phase is Phase.PAUSED


def test_an_app_that_was_unhealthy_before_is_not_held_against_the_base():
    app = observe(moved("t/a", was_unhealthy=True), Status.UNHEALTHY, is_running=True)
    assert app.state is AppState.RUNNING
    assert not app.is_pending
    well = observe(app, Status.HEALTHY, is_running=True)
    assert observe(well, Status.UNHEALTHY, is_running=True).state is AppState.FAILED


def test_a_newer_build_that_is_unhealthy_is_not_held_against_the_base():
    app = observe(moved("t/a", AppState.HEALTHY, rebuilt=True), Status.UNHEALTHY, is_running=True)
    assert app.state is AppState.RUNNING
    assert not app.is_pending


def test_a_canary_that_is_stopped_proves_nothing():
    stopped = observe(moved("t/a0", wave=0), Status.STOPPED, is_running=False)
    found = step(Phase.CANARY, [stopped, *[replace(app, wave=1) for app in waiting(3)[1:]]])
    assert isinstance(found, Turn)
    assert found.rollout.reason == "only 0 of the wave's 0 running apps are reported"


def test_a_rollout_whose_apps_are_all_held_waits():
    held = [replace(app, state=AppState.HELD) for app in waiting(3)]
    assert step(Phase.CANARY, held) == Wait("no app can be moved now")


def test_a_held_canary_is_followed_by_another_app():
    first, *rest = [replace(app, wave=wave) for wave, app in enumerate(waiting(3))]
    found = step(Phase.CANARY, [replace(first, state=AppState.HELD), *rest])
    assert isinstance(found, Move)
    assert [(app.name, app.wave) for app in found.apps] == [("t/a1", 0)]


def test_reports_about_apps_that_have_not_moved_change_nothing():
    for state in (AppState.WAITING, AppState.HELD, AppState.REVERTED, AppState.NOT_MOVABLE):
        app = moved("t/a", state)
        assert observe(app, Status.UNHEALTHY, is_running=True) is app


def test_an_image_in_use_runs_but_is_not_healthy():
    app = observe(moved("t/a"), None, is_running=True)
    assert app.state is AppState.RUNNING
    assert app.is_pending


def test_a_wave_waits_for_its_window():
    later = [replace(app, wave=1) for app in waiting(3)]
    night = Parameters(window=Window(days=("mon",), hours=(3, 4)))
    found = step(Phase.WAVE, later, wave=1, parameters=night)
    assert found == Wait("its window is closed")


def test_people_must_give_reasons():
    for deed in (
        lambda: persons.pause(rollout(), Deed(NOW, "ops", " ")),
        lambda: persons.abort(rollout(), Deed(NOW, "ops", "")),
        lambda: persons.resume(persons.pause(rollout(), Deed(NOW, "ops", "x")), {}, {}, Deed(NOW, "ops", "")),
        lambda: persons.pause(rollout(), Deed(NOW, "ops", "two\nlines")),
    ):
        with pytest.raises(RequestError, match="reason"):
            deed()


def test_a_base_that_the_channel_has_left_is_refused():
    planned = replace(rollout(Phase.PLANNED), id="r2", number=2, base="b@old", source="b@new", checked=True)
    before = rollout(Phase.COMPLETE)
    with pytest.raises(ConflictError, match="has left b@old with rollout r1"):
        persons.start(planned, apps(*waiting(2)), [before], Deed(NOW, "ops", ""))


def test_a_resumed_rollout_whose_budget_is_used_up_needs_more():
    back = [replace(moved(f"t/a{number}", AppState.REVERTED, wave=1), state=AppState.REVERTED) for number in range(2)]
    paused = persons.pause(rollout(wave=1), Deed(NOW, "ops", "x"))
    with pytest.raises(ConflictError, match="2 of the wave's apps failed, and 1 may be unhealthy"):
        persons.resume(paused, apps(*back), {}, Deed(NOW, "ops", "go on"))
    resumed = persons.resume(paused, apps(*back), {}, Deed(NOW, "ops", "go on"), 2)
    assert resumed.extra_budget == 2
    assert isinstance(next_step(resumed, apps(*back, replace(waiting(1)[0], wave=1)), {}, NOW), Move)


def test_failures_of_earlier_waves_count_when_they_have_gone_back():
    """750 apps move, and of the 250 that have moved before, all become unhealthy."""
    earlier = [moved(f"t/e{number}", AppState.FAILED, wave=4) for number in range(250)]
    later = [replace(app, wave=5) for app in waiting(750)]
    found = step(Phase.WAVE, [*earlier, *later], wave=5)
    assert isinstance(found, Revert)
    assert {app.wave for app in found.apps} == {5}
    back = [replace(app, state=AppState.REVERTED) for app in found.apps]
    assert len(back) == 250
    paused = step(Phase.WAVE, [*back, *later], wave=5)
    assert isinstance(paused, Turn)
    assert paused.rollout.phase is Phase.PAUSED
    assert paused.rollout.reason.startswith("250 apps became unhealthy on the new base: t/e0")


def test_failures_that_are_excused_do_not_go_back():
    before = [replace(app, wave=2) for app in waiting(10)]
    seen = {app.name: health("old", Status.UNHEALTHY, NOW) for app in before}
    wave = [moved(f"t/m{number}", AppState.FAILED) for number in range(4)]
    found = step(Phase.SOAKING, [*wave, *before], seen, wave=1)
    assert isinstance(found, Wait)
    half = seen | {app.name: health("old", Status.HEALTHY) for app in before[:5]}
    found = step(Phase.SOAKING, [*wave, *before], half, wave=1)
    assert isinstance(found, Revert)
    assert len(found.apps) == 2, "two of four are excused"
    back = [replace(app, state=AppState.REVERTED) for app in wave[:2]]
    after = step(Phase.SOAKING, [*back, *wave[2:], *before], half, wave=1)
    assert isinstance(after, Turn)
    assert after.rollout.phase is Phase.PAUSED


def test_one_app_that_has_not_moved_excuses_nothing():
    """A tenant reports its own app healthy and then unhealthy; nothing is reported of the others."""
    before = [replace(app, wave=2) for app in waiting(10)]
    seen = {before[0].name: health("old", Status.UNHEALTHY, NOW)}
    wave = [moved(f"t/m{number}", AppState.REVERTED) for number in range(700)]
    found = step(Phase.WAVE, [*wave, *before], seen, wave=1)
    assert isinstance(found, Turn)
    assert found.rollout.phase is Phase.PAUSED


def test_a_report_from_before_the_move_does_not_count():
    """The same image again: a rollout to the same base was aborted, and its reports are still there."""
    old = AppHealth((Observation("new", "o", Status.HEALTHY, until=NOW + 7200 - 60),))
    assert old.status("new", NOW) is Status.HEALTHY
    assert old.status("new", NOW, NOW) is None
    assert old.status("new", NOW, NOW - 56) is Status.HEALTHY, "clocks differ"
    found = step(Phase.CANARY, [moved("t/a0", AppState.HEALTHY, wave=0)], {"t/a0": old})
    assert isinstance(found, Turn)
    assert found.rollout.reason == "only 0 of the wave's 1 running apps are reported"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_report_is_observed_at_a_time(value):
    with pytest.raises(ValidationError):
        HealthReport(tenant="shop", app="web", status=Status.HEALTHY, observed_at=value)


@pytest.mark.parametrize("state", [AppState.WAITING, AppState.COMPOSED])
def test_a_rollout_is_not_complete_while_apps_are_on_the_old_base(state):
    done = moved("t/a0", AppState.HEALTHY, wave=2, at=NOW - 9000)
    late = App("t/late", state, wave=1, previous="old")
    seen = {"t/a0": health("new", Status.HEALTHY)}
    found = step(Phase.SOAKING, [done, late], seen, now=NOW + 3601, wave=2)
    assert isinstance(found, Turn)
    assert (found.rollout.phase, found.rollout.wave) == (Phase.WAVE, 2)
    assert found.rollout.reason == "apps have come back to their old base, or are no longer held"
    again = next_step(found.rollout, apps(done, late), seen, NOW + 3602)
    assert isinstance(again, Move)
    assert [app.name for app in again.apps] == ["t/late"]
    over = step(Phase.SOAKING, [done, replace(late, state=AppState.HELD)], seen, now=NOW + 3601, wave=2)
    assert isinstance(over, Turn)
    assert over.rollout.phase is Phase.COMPLETE


def test_apps_that_are_no_longer_held_move_in_the_last_wave():
    held = App("t/a0", AppState.HELD, reasons=("an audit",))
    assert persons.release(held, rollout(Phase.CANARY)) == App("t/a0", AppState.WAITING, wave=2)
    assert persons.release(held, replace(rollout(Phase.PLANNED), waves=0)).wave == 0


def test_a_rollout_whose_apps_have_all_gone_back_pauses():
    back = moved("t/a0", AppState.REVERTED, wave=0)
    found = step(Phase.WAVE, [back, App("t/a1", AppState.HELD)], wave=1)
    assert isinstance(found, Turn)
    assert found.rollout.phase is Phase.PAUSED
    assert found.rollout.reason == "every app that was moved is on its previous image again"


def test_a_rollout_that_was_superseded_has_not_moved_the_channel():
    planned = replace(rollout(Phase.PLANNED), id="r3", number=3, base="b@old", source="b@old", checked=True)
    ended = replace(rollout(Phase.SUPERSEDED), id="r1")
    aborted = replace(rollout(Phase.ABORTED), id="r2", number=2, base="b@newer")
    begun, _, _ = persons.start(planned, apps(*waiting(2)), [ended, aborted], Deed(NOW, "ops", ""))
    assert begun.phase is Phase.CANARY
