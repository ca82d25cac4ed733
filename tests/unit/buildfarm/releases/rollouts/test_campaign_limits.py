"""What never stops a campaign, and does not count against an app: limits, cancelled builds, and the farm's faults."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from buildfarm.errors import (
    NotServedError,
    QueueFullError,
    RegistryError,
    RegistryFullError,
    RequestError,
    StorageLimitError,
)
from buildfarm.model import Fault, State
from buildfarm.releases.facts.check import NoFactsError
from buildfarm.releases.rollouts import watch
from buildfarm.releases.rollouts.mover import Unread
from buildfarm.releases.rollouts.observations import Hold
from buildfarm.releases.rollouts.rebuilds.attempts import (
    UNSERVED_HOURS_MAX,
    NotSubmittedError,
    left_out,
    others_left_out,
    refused,
)
from buildfarm.releases.rollouts.rules import gate, persons
from buildfarm.releases.rollouts.rules.machine import PLAN_SECONDS
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import Status
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout
from tests.unit.buildfarm.releases.rollouts.campaign_world import GOOD, World, nothing, started

ALL = Parameters(cohorts=("100%",), soak_seconds=60, failure_budget=1)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    nothing(monkeypatch)


def building(world):
    return [app.build for app in world.kept.values() if app.state is AppState.BUILDING]


def pass_time(world, seconds, step=10):
    for _ in range(0, seconds, step):
        world.clock += step
        world.turn()


def of_two_tenants():
    """One app of each of two tenants, and one more of the first."""
    world = World(count=2, rules=ALL)
    world.publish("u/a2", world.contents[world.tags["t/a0"]])
    world.kept["u/a2"] = replace(world.kept["t/a0"], name="u/a2")
    world.before = dict(world.tags)
    return started(world)


@pytest.mark.parametrize(
    ("refusal", "seconds", "states"),
    [
        (StorageLimitError("t has used up its 1 GB"), 3500, {"waiting"}),
        (StorageLimitError("t has used up its 1 GB"), 3700, {"not_movable"}),
        (NotServedError("No build node serves the size large now."), 3700, {"waiting"}),
        (RegistryFullError("the registry is full"), 7500, {"waiting"}),
        (RequestError("There is no size huge."), 10, {"not_movable"}),
    ],
)
def test_what_is_refused_is_tried_for_an_hour_unless_the_farm_is_to_blame(refusal, seconds, states):
    world = started(World(count=2, rules=ALL))
    world.refusal = refusal
    pass_time(world, seconds)
    assert set(world.states().values()) == states
    assert refusal.message in world.kept["t/a0"].reasons[0]
    assert world.rollout.phase is (Phase.COMPLETE if states == {"not_movable"} else Phase.CANARY)


def test_a_size_that_no_node_serves_is_waited_for_a_day_and_takes_little_of_the_hour_of_other_refusals():
    app = App("t/a0", AppState.WAITING)
    unserved = NotSubmittedError("No build node serves the size large now.", hours_max=UNSERVED_HOURS_MAX)
    for _ in range(23 * 15):
        app = refused(app, unserved, [])
    assert app.state is AppState.WAITING
    assert refused(app, NotSubmittedError("t has used up its 1 GB"), []).state is AppState.WAITING
    for _ in range(16):
        app = refused(app, unserved, [])
    assert app.state is AppState.NOT_MOVABLE
    assert app.reasons == ("its rebuild was refused for 24 hours: No build node serves the size large now.",)


def test_a_refused_tenant_s_many_apps_do_not_take_the_turn_of_another_tenant_s(monkeypatch):
    world = World(count=40, rules=Parameters(cohorts=("100%",), soak_seconds=60))
    world.publish("u/a40", world.contents[world.tags["t/a0"]])
    world.kept["u/a40"] = replace(world.kept["t/a0"], name="u/a40")
    world = started(world)
    monkeypatch.setattr(gate, "in_order", lambda apps, rollout: sorted(apps, key=lambda app: app.name))
    submit, tried = world.submit_if, []

    def submitted(only_if, request, build_id):
        tried.append(f"{request.tenant}/{request.app}")
        world.clock += 1  # a look, and some writes
        if request.tenant == "t":
            raise StorageLimitError("t has used up its 1 GB")
        return submit(only_if, request, build_id)

    world.submit_if = submitted
    world.turn()
    assert tried == ["t/a0", "u/a40"]
    world.end(building(world)[0])
    world.turn()
    world.report("u/a40")
    pass_time(world, 60)
    assert tried[2:] == ["t/a0"] * 6, "one try each 10 s is for all of the tenant"


def test_an_app_of_a_refused_tenant_goes_back_at_once():
    world = started(World(count=2, rules=ALL))
    world.turn()
    first, second = building(world)
    world.end(first)
    world.cancel = lambda build_id: None
    world.turn()
    world.end(second, failed=True, fault=Fault.FARM)
    world.refusal = StorageLimitError("t has used up its 1 GB")
    world.turn()
    world.clock += 10
    world.turn()
    [(name, _)] = world.events
    world.report(name, Status.UNHEALTHY)
    world.turn()
    assert world.kept[name].state is AppState.REVERTED


def test_a_farm_failure_in_an_abort_is_not_built_again():
    world = started(World(count=1))
    world.turn()
    [build] = building(world)
    world.builds[build] = world.builds[build].model_copy(update={"state": State.RUNNING, "phase": "publish"})
    world.person(persons.abort, Deed(world.clock, "ops", "a regression"))
    world.turn()
    world.end(build, failed=True, fault=Fault.FARM)
    world.turn(2)
    assert (world.states(), world.rollout.phase) == ({"t/a0": "reverted"}, Phase.ABORTED)
    assert world.kept["t/a0"].reasons == (f"build {build}: npm ended with 1",)


def test_apps_that_are_left_out_do_not_shrink_the_budget_for_failures():
    """60 of a wave's 100 apps are left out after 2 of the 5 that may fail have failed: it goes on."""
    names = [f"{'t' if number < 40 else 'u'}/a{number}" for number in range(100)]
    apps = [App(name, AppState.WAITING, wave=1, previous="old") for name in names]
    apps[:2] = [replace(app, state=AppState.REVERTED) for app in apps[:2]]
    later = [App("u/later", AppState.WAITING, wave=2, previous="old")]
    left = [left_out(apps[40], "refused"), *others_left_out(apps[40], [*apps, *later], "refused")]
    known = {app.name: app for app in [*apps, *later, *left]}
    rollout = Rollout("r1", 1, "stable", "", "", Parameters(failure_budget=0.05), rebuilds="npm/ms", wave=1)
    assert sum(app.state is AppState.NOT_MOVABLE for app in known.values()) == 61
    assert gate.measure(rollout, known, {}, 0.0).budget == 5
    assert gate.measure(replace(rollout, wave=2), known, {}, 0.0).budget == 1, "a later wave begins without them"


def test_apps_that_were_never_of_a_wave_do_not_add_to_its_budget():
    apps = [App(f"t/a{number}", AppState.NOT_MOVABLE) for number in range(100)]
    rollout = Rollout("r1", 1, "stable", "", "", Parameters(failure_budget=0.05), rebuilds="npm/ms")
    assert gate.measure(rollout, {app.name: app for app in apps}, {}, 0.0).budget == 1


def test_a_campaign_ends_without_the_apps_that_were_refused_and_counts_them():
    world = started(World(count=2, rules=ALL))
    world.refusal = StorageLimitError("t has used up its 1 GB")
    pass_time(world, 3700)
    assert world.rollout.reason.endswith("; 2 apps could not be rebuilt")


def test_one_refused_app_leaves_out_its_tenant_s_other_apps_in_later_waves():
    world = started(World(count=4, rules=Parameters(cohorts=("1", "100%"), soak_seconds=0)))
    world.refusal = StorageLimitError("t has used up its 1 GB")
    pass_time(world, 3700)
    assert set(world.states().values()) == {"not_movable"}, "not an hour for each wave"


def test_the_registry_failing_for_one_app_does_not_keep_the_others_from_being_built():
    world = started(World(count=3, rules=ALL))
    submit, failing = world.submit_if, ["t/a1"]

    def submitted(only_if, request, build_id):
        if f"t/{request.app}" in failing:
            raise RegistryError("it cannot be reached")
        return submit(only_if, request, build_id)

    world.submit_if = submitted
    with pytest.raises(RegistryError):
        world.turn()
    assert {one.app for one in world.submitted} == {"a0", "a2"}
    failing.clear()
    world.turn(2)
    assert {one.app for one in world.submitted} == {"a0", "a1", "a2"}


def test_a_tenant_whose_waiting_builds_are_the_campaign_s_own_loses_no_app():
    world = started(World(count=8, rules=ALL))
    submit = world.submit_if

    def submitted(only_if, request, build_id):
        if any(not world.builds[one].state.final for one in world.ours):
            raise QueueFullError("t has 1 builds waiting; the limit is 1.", retry_after_seconds=60)
        return submit(only_if, request, build_id)

    world.submit_if = submitted
    pass_time(world, 3 * 3600)
    assert set(world.states().values()) == {"building", "waiting"}
    [app] = [app for app in world.kept.values() if app.state is AppState.BUILDING]
    world.end(app.build)
    world.is_full = True  # by now, of builds that are not the campaign's
    world.turn()
    world.report(app.name)
    pass_time(world, 3500)
    assert set(world.states().values()) == {"healthy", "waiting"}
    pass_time(world, 200)
    assert set(world.states().values()) == {"healthy", "not_movable"}


def test_a_build_that_its_tenant_s_limit_holds_for_an_hour_gives_its_place_to_others():
    world = of_two_tenants()
    world.rollout = replace(world.rollout, parameters=Parameters(cohorts=("100%",), failure_budget=0.1))
    world.is_held = True
    world.turn(2)
    [held] = building(world)
    world.is_held = False
    tenant = next(app.tenant for app in world.kept.values() if app.build)
    pass_time(world, 7200, step=60)
    assert building(world) == [held], "while nothing of the tenant runs"
    world.busy = {tenant}
    pass_time(world, 3600, step=60)
    assert building(world) == [held]
    pass_time(world, 60, step=60)
    assert world.builds[held].state is State.CANCELLED
    assert {app.state for app in world.kept.values() if app.tenant == tenant} == {AppState.NOT_MOVABLE}
    assert [app.tenant != tenant for app in world.kept.values() if app.state is AppState.BUILDING] == [True]
    assert world.rollout.phase is Phase.CANARY


def test_a_build_behind_another_of_the_campaign_is_waited_for():
    world = started(World(count=2, rules=ALL))
    world.turn()
    first, second = building(world)
    world.builds[second] = world.builds[second].model_copy(update={"state": State.HELD})
    world.busy = {"t"}
    pass_time(world, 7200, step=60)
    assert building(world) == [first, second]
    world.end(first)
    world.turn(2)
    pass_time(world, 3000, step=60)
    assert building(world) == [second], "the tenant's own builds have not held it for an hour"


def test_a_held_build_is_not_cancelled_for_hours_in_which_no_node_looked():
    world = started(World(count=2, rules=ALL))
    world.is_held, world.busy = True, {"t"}
    world.turn(2)
    held = building(world)
    world.clock += 7200
    world.turn()
    world.restart()
    world.clock += 7200
    world.turn(2)
    assert building(world) == held


def test_a_build_that_has_its_turn_at_last_is_not_cancelled(monkeypatch):
    world = started(World(count=1))
    world.is_held, world.busy = True, {"t"}
    world.turn(2)
    [held] = building(world)
    pass_time(world, 3600, step=60)

    def standing(build):
        world.builds[held] = world.builds[held].model_copy(update={"state": State.QUEUED})
        return World.standing(world, build)

    monkeypatch.setattr(world, "standing", standing)
    pass_time(world, 60, step=60)
    assert (building(world), world.builds[held].state) == ([held], State.QUEUED)


def test_a_cancelled_build_leaves_the_app_out_and_does_not_count():
    world = started(World(count=3))
    world.turn()
    [build] = building(world)
    world.cancel(build)
    world.turn(2)
    [out] = [app for app in world.kept.values() if app.state is AppState.NOT_MOVABLE]
    assert out.reasons == (f"its build {build} was cancelled",)
    assert (world.rollout.phase, len(building(world))) == (Phase.CANARY, 1), "another app is the canary"


def test_the_farm_s_faults_are_tried_again_and_count_at_the_third_time():
    world = started(World(count=1))
    for _ in range(2):
        world.turn()
        world.end(building(world)[0], failed=True, fault=Fault.FARM)
        world.turn()
        assert world.states() == {"t/a0": "waiting"}
        world.clock += 20
    world.turn()
    world.end(building(world)[0], failed=True, fault=Fault.FARM)
    world.turn(2)
    assert (world.states(), world.rollout.phase) == ({"t/a0": "reverted"}, Phase.PAUSED)


def test_an_app_that_a_person_holds_is_not_rebuilt_if_its_build_has_not_begun(monkeypatch):
    world = started(World(count=2, rules=ALL))
    world.turn()
    first, second = building(world)
    running = world.builds[second].model_copy(update={"state": State.RUNNING})
    world.builds[second] = running
    held = Hold(world.clock + 3600, "an audit", "ops")
    monkeypatch.setattr(
        watch, "Holds", lambda database: SimpleNamespace(active=lambda: dict.fromkeys(world.names, held))
    )
    world.turn()
    assert world.builds[first].state is State.CANCELLED
    assert sorted(world.states().values()) == ["building", "held"]


def test_an_app_that_a_person_holds_is_rebuilt_after_the_hold_if_its_build_began_just_then(monkeypatch):
    world = started(World(count=1))
    world.turn()
    [build] = building(world)
    holds = {"t/a0": Hold(world.clock + 3600, "an audit", "ops")}
    monkeypatch.setattr(watch, "Holds", lambda database: SimpleNamespace(active=lambda: holds))
    world.cancel = lambda build_id: None  # a node has claimed it, and ends it by and by
    world.turn()
    assert world.states() == {"t/a0": "building"}
    world.builds[build] = world.builds[build].model_copy(update={"state": State.CANCELLED})
    world.turn()
    assert world.states() == {"t/a0": "held"}
    holds.clear()
    world.turn(2)
    assert world.states() == {"t/a0": "building"}
    assert building(world) != [build]


def test_the_source_is_kept_until_the_app_has_been_rebuilt():
    world = World(count=1)
    kept = f"sha256:{'a' * 64}"
    world.turn()
    assert world.kept["t/a0"].source == kept, "from the plan on"
    world = started(world)
    world.refusal = StorageLimitError("t has used up its 1 GB")
    world.turn()
    assert (world.states(), world.kept["t/a0"].source) == ({"t/a0": "waiting"}, kept)
    world.refusal, world.clock = None, world.clock + 20
    world.turn()
    assert (world.states(), world.kept["t/a0"].source) == ({"t/a0": "building"}, kept)
    world.end(building(world)[0], failed=True, fault=Fault.FARM)
    world.turn()
    assert (world.states(), world.kept["t/a0"].source) == ({"t/a0": "waiting"}, kept)
    world.restart()
    world.turn()
    assert (world.states(), world.kept["t/a0"].source) == ({"t/a0": "building"}, kept), "also from Redis"


def test_a_plan_that_nobody_starts_ends_by_itself():
    world = World(count=1)
    world.turn()
    world.clock += PLAN_SECONDS - 1
    world.turn()
    assert world.rollout.phase is Phase.PLANNED
    world.clock += 2
    world.turn()
    assert (world.rollout.phase, world.rollout.reason) == (Phase.ABORTED, "it was not started within 14 days")


def test_a_held_build_is_not_timed_while_its_campaign_is_paused():
    world = started(World(count=1))
    world.is_held, world.busy = True, {"t"}
    world.turn(2)
    [held] = building(world)
    pass_time(world, 1800, step=60)
    world.person(persons.pause, Deed(world.clock, "ops", "lunch"))
    pass_time(world, 7200, step=600)
    world.person(persons.resume, world.kept, world.health, Deed(world.clock, "ops", "back"), 0)
    pass_time(world, 3600, step=60)
    assert building(world) == [held]
    pass_time(world, 120, step=60)
    assert world.states() == {"t/a0": "not_movable"}


def test_a_build_whose_cancel_by_an_abort_takes_a_while_is_no_app_that_was_left_out():
    world = started(World(count=1))
    world.turn()
    [build] = building(world)
    world.builds[build] = world.builds[build].model_copy(update={"state": State.RUNNING, "phase": "publish"})
    world.person(persons.abort, Deed(world.clock, "ops", "a regression"))
    world.turn()
    world.builds[build] = world.builds[build].model_copy(update={"state": State.CANCELLED, "phase": None})
    world.turn(2)
    assert (world.states(), world.rollout.phase) == ({"t/a0": "reverted"}, Phase.ABORTED)


def test_what_was_refused_before_is_no_matter_once_an_app_has_been_rebuilt():
    world = started(World(count=1))
    world.refusal = StorageLimitError("t has used up its 1 GB")
    pass_time(world, 3000)
    world.refusal = None
    pass_time(world, 20)
    world.end(building(world)[0])
    world.turn()
    assert world.states() == {"t/a0": "announced"}
    assert world.kept["t/a0"].refused_seconds == 0


def test_an_image_with_unread_files_waits_for_what_was_in_the_one_before():
    world = started(World(count=1))
    world.turn()
    before, damaged = world.tags["t/a0"], {"app/y": "it is damaged"}
    world.end(building(world)[0], replace(GOOD, unread=damaged))
    known, world.contents[before] = world.contents[before], None
    world.turn(2)
    assert (world.states(), world.events) == ({"t/a0": "building"}, [])
    world.contents[before] = replace(known, unread=damaged)
    world.clock += 20
    world.turn()
    assert world.states() == {"t/a0": "announced"}


def test_an_image_waits_15_minutes_for_the_one_before_if_nodes_read_nothing():
    world = started(World(count=1))
    world.turn()
    world.contents[world.tags["t/a0"]] = None
    world.end(building(world)[0], replace(GOOD, unread={"app/y": "it is damaged"}))
    world.engine.mover.rebaser.facts.is_read = lambda: False
    pass_time(world, 840)
    assert world.states() == {"t/a0": "building"}
    pass_time(world, 180)
    assert world.states() == {"t/a0": "reverted"}
    assert "it is not known whether the rebuilt image still has it" in world.kept["t/a0"].reasons[0]


def test_a_node_that_has_lost_the_duty_announces_nothing_more():
    world = started(World(count=2, rules=ALL))
    world.turn()
    for build in building(world):
        world.end(build)
    world.engine.is_mine = iter([True, True]).__next__  # its turn, and the first app
    with suppress(StopIteration):
        world.turn()
    assert len(world.events) == 1


def test_apps_of_a_size_that_no_node_serves_leave_the_turn_to_others(monkeypatch):
    """Each is tried again after minutes, so that hundreds of them do not fill each turn for a day."""
    world = started(World(count=40, rules=Parameters(cohorts=("100%",), soak_seconds=60)))
    tried = []

    def submitted(only_if, request, build_id):
        tried.append(request.app)
        world.clock += 1  # a look, and some writes
        raise NotServedError("No build node serves the size large now.")

    world.submit_if = submitted
    pass_time(world, 180)
    assert len(tried) == len(set(tried)) == 40
    pass_time(world, 240)
    assert len(tried) > 40


def test_an_app_whose_files_are_unread_waits_no_longer_because_its_tenant_is_refused():
    world = started(World(count=1, rules=ALL))
    mover, app, rollout = world.engine.mover, world.kept["t/a0"], world.rollout
    unread = Unread(since=1.0, progress_at=2.0, again_at=3.0)
    mover.unread[rollout.id, app.name] = unread
    mover.put_off(app, rollout, seconds=10)
    mover.end_pass(rollout.id)
    assert mover.unread[rollout.id, app.name] == unread
    assert mover.is_put_off(app, rollout)
    world.clock += 10
    assert not mover.is_put_off(app, rollout)


def test_an_app_that_was_refused_for_long_still_has_its_time_to_be_read():
    world = started(World(count=1, rules=ALL))
    mover, app, rollout = world.engine.mover, world.kept["t/a0"], world.rollout
    for _ in range(200):
        mover.put_off(app, rollout, seconds=10)
        world.clock += 10
    unread = NoFactsError("its files have not been read")
    unread.pending = True
    assert mover.waits_for_facts((rollout.id, app.name), app, unread).state is app.state
