"""Rollouts over a real registry and a real Redis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.errors import ConflictError, NotFoundError, RequestError, UnconfirmedError
from buildfarm.gc.choose import Reason
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.releases.rollouts.changes import Change
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.store import Rollouts, digests_of_rollouts
from tests.integration.lost_writes import go_back, remember
from tests.integration.releases.rollouts.conftest import QUICK

OTHER_STACK = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "another"}


def test_a_rollout_moves_every_app_and_then_the_channel(fleet):
    planned = fleet.farm.plan_rollout(fleet.second, QUICK)
    fleet.turn()
    planned = fleet.farm.rollout(planned.id)
    assert (planned.phase, planned.checked, planned.counts) == (Phase.PLANNED, True, {AppState.WAITING: 10})
    assert set(fleet.bases().values()) == {fleet.first}, "a planned rollout moves nothing"
    started = fleet.farm.start_rollout(planned.id, reason="a fix of libssl")
    assert (started.phase, started.waves) == (Phase.CANARY, 3)
    fleet.turn()
    [canary] = fleet.moved(planned.id)
    assert fleet.builds_on() == {canary: fleet.second}, "builds of the canary stand on the new base"
    assert fleet.farm.builder() == fleet.first
    done = fleet.finish(planned.id)
    assert done.phase is Phase.COMPLETE
    assert done.counts == {AppState.HEALTHY: 10}
    assert set(fleet.bases().values()) == {fleet.second}
    assert fleet.farm.builder() == fleet.second
    assert fleet.builds_on() == {}
    assert fleet.farm.registry.get_manifest("builder", "stable")[2] == fleet.second.partition("@")[2]
    assert fleet.deployed.tags(list(fleet.apps)) == {
        name: fleet.farm.records.tag_target(f"apps/{name}") for name in fleet.apps
    }
    assert [entry.phase for entry in done.log][::-1][:4] == [Phase.PLANNED, Phase.CANARY, Phase.SOAKING, Phase.WAVE]
    changes = fleet.farm.image_changes("0")
    assert {one.app for one in changes} == set(fleet.apps)
    assert changes[0].app == canary
    assert {(one.previous, one.base, one.rollout) for one in changes if one.app == canary} == {
        (fleet.apps[canary], fleet.second, planned.id)
    }


def test_no_more_apps_move_than_the_budget_leaves(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), soak_seconds=0, failure_budget=0.3))
    fleet.turn(3)
    assert len(fleet.moved(rollout.id)) == 3
    fleet.report(fleet.moved(rollout.id)[0])
    fleet.turn()
    assert len(fleet.moved(rollout.id)) == 4
    assert fleet.farm.rollout(rollout.id).next == "3 apps are not reported yet, and 0 failed, of 3 allowed"


def test_a_failing_canary_goes_back_and_the_rollout_pauses(fleet):
    rollout = fleet.start()
    fleet.turn()
    [canary] = fleet.moved(rollout.id)
    fleet.report(canary, Status.UNHEALTHY)
    fleet.turn(3)
    found = fleet.farm.rollout(rollout.id)
    assert (found.phase, found.reason) == (Phase.PAUSED, f"1 app became unhealthy on the new base: {canary}")
    assert fleet.deployed.tags([canary]) == {canary: fleet.apps[canary]}
    assert fleet.builds_on() == {}
    assert fleet.moved(rollout.id) == []
    fleet.turn(3)
    assert fleet.farm.rollout(rollout.id).counts == {AppState.REVERTED: 1, AppState.WAITING: 9}
    with pytest.raises(ConflictError, match="1 of the wave's apps failed, and 1 may be unhealthy"):
        fleet.farm.resume_rollout(rollout.id, "try again")
    fleet.farm.resume_rollout(rollout.id, "the app has its own bug", allow=1)
    assert fleet.farm.rollout(rollout.id).phase is Phase.CANARY


def test_every_app_of_a_wave_fails_at_once(fleet):
    rules = Parameters(cohorts=("1", "100%"), soak_seconds=0, failure_budget=0.34)
    rollout = fleet.start(rules=rules)
    fleet.turn()
    fleet.report_all(rollout.id)
    fleet.turn(2)
    wave = [name for name in fleet.moved(rollout.id) if fleet.state(rollout.id, name) is AppState.ANNOUNCED]
    assert len(wave) == 3
    for name in wave:
        fleet.report(name, Status.UNHEALTHY)
    fleet.turn(5)
    found = fleet.farm.rollout(rollout.id)
    assert found.phase is Phase.PAUSED
    assert found.counts == {AppState.HEALTHY: 1, AppState.REVERTED: 3, AppState.WAITING: 6}
    assert fleet.deployed.tags(wave) == {name: fleet.apps[name] for name in wave}


def test_an_abort_brings_every_app_back_while_builds_go_on(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=1))
    fleet.turn()
    moved = fleet.moved(rollout.id)
    assert len(moved) == 10
    rebuilt, late = moved[:2]
    on_the_new_base = fleet.deployed.app(rebuilt, fleet.second, code="2")
    began_before = fleet.deployed.app(late, fleet.first, code="2")
    fleet.farm.abort_rollout(rollout.id, "a regression")
    fleet.turn(3)
    found = fleet.farm.rollout(rollout.id)
    assert (found.phase, found.reason) == (Phase.ABORTED, "a regression")
    assert set(fleet.bases().values()) == {fleet.first}
    tags = fleet.deployed.tags(list(fleet.apps))
    untouched = set(fleet.apps) - {rebuilt, late}
    assert {name: tags[name] for name in untouched} == {name: fleet.apps[name] for name in untouched}
    assert tags[late] == began_before, "the newest build stays"
    assert tags[rebuilt] not in (on_the_new_base, fleet.apps[rebuilt]), "its newest build, on the old base"
    assert fleet.builds_on() == {}
    assert fleet.farm.builder() == fleet.first


def test_a_build_that_lands_on_the_old_base_is_moved_again(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=1))
    fleet.turn()
    name = fleet.moved(rollout.id)[0]
    late = fleet.deployed.app(name, fleet.first, code="2")
    fleet.turn(2)
    assert fleet.farm.app_image(*name.split("/")).base == fleet.second
    [app] = [one for one in fleet.farm.rollout_apps(rollout.id) if one.app == name]
    assert app.previous == late


def test_an_app_that_a_build_has_put_on_the_new_base_is_reported_with_that_image(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=1, soak_seconds=0))
    fleet.turn()
    name = fleet.moved(rollout.id)[0]
    fleet.deployed.app(name, fleet.second, code="2")
    assert fleet.finish(rollout.id).phase is Phase.COMPLETE


def test_a_newer_base_supersedes_and_begins_with_a_canary(fleet):
    first = fleet.start(rules=Parameters(cohorts=("50%", "100%"), failure_budget=1))
    fleet.turn()
    assert len(fleet.moved(first.id)) == 5
    third = fleet.third
    second = fleet.start(third)
    ended = fleet.farm.rollout(first.id)
    assert (ended.phase, ended.reason) == (Phase.SUPERSEDED, f"rollout {second.id} took its place")
    fleet.turn()
    [canary] = fleet.moved(second.id)
    assert fleet.farm.app_image(*canary.split("/")).base == third
    with pytest.raises(ConflictError, match="has left"):
        fleet.start(fleet.first)
    fleet.farm.abort_rollout(second.id, "wait")
    fleet.turn(2)
    assert sorted(fleet.bases().values()) == sorted([fleet.first] * 5 + [fleet.second] * 5)
    assert set(fleet.builds_on().values()) == {fleet.second}, "builds stay where their apps are"
    assert fleet.second.partition("@")[2] in digests_of_rollouts(fleet.farm.database), "and need their base"
    last = fleet.start(fleet.first)
    assert fleet.finish(last.id).phase is Phase.COMPLETE
    assert set(fleet.bases().values()) == {fleet.first}, "a rollout to the channel's own base takes them back"
    assert fleet.builds_on() == {}


def test_apps_that_cannot_move_are_listed_with_the_reason(fleet):
    names = list(fleet.apps)
    fleet.deployed.app(names[0], fleet.deployed.base("2026-01-01T01:00:00Z", OTHER_STACK), code="other")
    fleet.farm.hold_app(*names[1].split("/"), "an audit", days=1)
    rules = QUICK.model_copy(update={"freeze": (names[2],)})
    rollout = fleet.start(rules=rules)
    outside = {one.app: one for one in fleet.farm.rollout_apps(rollout.id) if one.state is not AppState.WAITING}
    assert {name: one.state for name, one in outside.items()} == {
        names[0]: AppState.NOT_MOVABLE, names[1]: AppState.HELD, names[2]: AppState.FROZEN,
    }  # fmt: skip
    assert "its stack is buildfarm.trixie, not another" in outside[names[0]].reasons[0]
    assert outside[names[1]].reasons[0].endswith("an audit")
    assert fleet.finish(rollout.id).counts == {
        AppState.HEALTHY: 7, AppState.HELD: 1, AppState.NOT_MOVABLE: 1, AppState.FROZEN: 1,
    }  # fmt: skip
    assert {fleet.bases()[name] for name in names[1:3]} == {fleet.first}


def test_a_hold_during_a_rollout_and_its_end(fleet):
    rollout = fleet.start()
    for name in fleet.apps:
        fleet.farm.hold_app(*name.split("/"), "not now", days=1)
    assert len(fleet.farm.holds()) == 10
    fleet.turn(2)
    assert fleet.moved(rollout.id) == []
    for name in fleet.apps:
        fleet.farm.release_app(*name.split("/"))
    assert fleet.finish(rollout.id).counts == {AppState.HEALTHY: 10}


def test_a_paused_rollout_stays_paused_when_redis_has_lost_its_newest_writes(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("50%", "100%"), soak_seconds=0, failure_budget=0.5))
    before = remember(fleet.farm.database)
    fleet.turn()
    assert len(fleet.moved(rollout.id)) == 2
    go_back(fleet.farm.database, before)
    assert fleet.moved(rollout.id) == []
    fleet.engine = fleet.open_engine()
    fleet.farm.pause_rollout(rollout.id, "Redis was restarted")
    fleet.turn(3)
    assert fleet.moved(rollout.id) == []
    fleet.farm.resume_rollout(rollout.id, "all is well")
    assert fleet.finish(rollout.id).phase is Phase.COMPLETE
    assert set(fleet.deployed.tags(list(fleet.apps)).items()) == {
        (name, fleet.farm.records.tag_target(f"apps/{name}")) for name in fleet.apps
    }


def test_two_engines_at_once_do_no_harm(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=0.2, soak_seconds=0))
    engines = [fleet.open_engine(name) for name in ("n1", "n2")]
    for engine in engines:
        engine.is_mine = lambda: True
    for _ in range(12):
        for engine in engines:
            engine.turn()
            pending = fleet.farm.rollout(rollout.id).gate
            assert pending is None or pending.pending <= 2
        fleet.report_all(rollout.id)
    assert fleet.farm.rollout(rollout.id).phase is Phase.COMPLETE
    assert len(fleet.farm.image_changes("0")) == 10


def test_reports_may_come_late_twice_and_out_of_order(fleet):
    rollout = fleet.start()
    fleet.turn()
    [canary] = fleet.moved(rollout.id)
    now = fleet.farm.database.now()
    assert fleet.report(canary, at=now)
    assert not fleet.report(canary, at=now), "the same report twice"
    assert not fleet.report(canary, Status.UNHEALTHY, at=now - 10), "an older observation that comes later"
    assert not fleet.report(canary, Status.UNHEALTHY, at=now - 8000), "an observation that is over"
    fleet.turn()
    assert fleet.state(rollout.id, canary) is AppState.HEALTHY


def test_a_report_about_another_image_or_app_is_refused(fleet):
    name, other = list(fleet.apps)[:2]
    with pytest.raises(NotFoundError, match="has no image sha256:0000"):
        fleet.report(name, image="sha256:" + "0" * 64)
    with pytest.raises(NotFoundError, match="has no image"):
        fleet.report(name, image=fleet.apps[other])
    with pytest.raises(RequestError, match="in the future"):
        fleet.report(name, at=fleet.farm.database.now() + 4000)
    report = HealthReport(tenant="absent", app="web", status=Status.HEALTHY, observed_at=fleet.farm.database.now())
    with pytest.raises(NotFoundError):
        fleet.farm.report_health(fleet.apps[name], report)


def test_an_old_image_may_still_be_reported(fleet):
    name = next(iter(fleet.apps))
    fleet.deployed.app(name, fleet.first, code="2")
    assert fleet.report(name, image=fleet.apps[name])


def test_a_report_of_running_images_is_not_one_of_health(fleet):
    rollout = fleet.start()
    fleet.turn()
    [canary] = fleet.moved(rollout.id)
    fleet.farm.report_in_use([fleet.farm.records.tag_target(f"apps/{canary}")])
    fleet.turn(2)
    assert fleet.state(rollout.id, canary) is AppState.RUNNING
    assert fleet.farm.rollout(rollout.id).phase is Phase.CANARY


def test_a_collection_keeps_what_an_unfinished_rollout_needs(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=1))
    fleet.turn()
    used = FarmGarbage(fleet.farm.history, fleet.farm.settings, ()).used()
    needed = {*fleet.apps.values(), *(fleet.farm.records.tag_target(f"apps/{name}") for name in fleet.apps)}
    needed |= {base.partition("@")[2] for base in (fleet.first, fleet.second)}
    assert {digest for digest in needed if used.get(digest) is Reason.RECORD} == needed
    fleet.farm.abort_rollout(rollout.id, "enough")
    fleet.turn(2)


def test_a_channel_that_a_person_has_moved_is_left_alone(fleet):
    rollout = fleet.start()
    third = fleet.third
    fleet.farm.promote_builder(third)
    found = fleet.finish(rollout.id)
    assert found.phase is Phase.PAUSED
    assert "a person has moved it" in found.reason
    assert fleet.farm.builder() == third


def test_a_person_who_moves_the_channel_to_the_rollouts_own_base_does_no_harm(fleet):
    rollout = fleet.start()
    fleet.farm.promote_builder(fleet.second)
    assert fleet.finish(rollout.id).phase is Phase.COMPLETE
    assert fleet.farm.builder() == fleet.second


def test_two_rollouts_that_are_started_at_once_do_not_both_run(fleet):
    """The second one's maker has read the farm before the first one was started."""
    first, second = (fleet.farm.plan_rollout(base, QUICK).id for base in (fleet.second, fleet.third))
    fleet.turn()
    rollouts = Rollouts(fleet.farm.database)
    planned = rollouts.get(second)
    begun, waiting, _ = persons.start(planned, rollouts.apps(second), [], Deed(fleet.farm.database.now(), "ops", ""))
    fleet.farm.start_rollout(first)
    assert rollouts.change(Change(planned, begun, waiting)) == "stale"
    assert fleet.farm.start_rollout(second).phase is Phase.CANARY
    assert fleet.farm.rollout(first).phase is Phase.SUPERSEDED


def test_a_change_of_the_phase_waits_for_replicas(fleet):
    rollout = fleet.start()
    alone = replace(fleet.farm.database, replicas_min=9, replica_wait_seconds=0.1)
    rollouts = Rollouts(alone)
    before = rollouts.get(rollout.id)
    paused = Change(before, persons.pause(before, Deed(before.since, "ops", "lunch")))
    with pytest.raises(UnconfirmedError, match=f"{rollout.id} is paused, but too few replicas"):
        rollouts.change(paused)
    assert fleet.farm.rollout(rollout.id).phase is Phase.PAUSED
    assert rollouts.change(paused) == "stale"  # nothing was written that replicas could lack


def test_a_person_puts_an_app_back_during_a_rollout(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), failure_budget=1))
    fleet.turn()
    fleet.report_all(rollout.id)
    name = fleet.moved(rollout.id)[0]
    tenant, _, app = name.partition("/")
    fleet.farm.rebase(tenant, app, base=fleet.first, older=True)
    fleet.turn(3)
    assert fleet.state(rollout.id, name) is AppState.REVERTED
    assert fleet.bases()[name] == fleet.first
    assert name not in fleet.builds_on()


def test_a_report_from_an_earlier_rollout_to_the_same_base_does_not_count(fleet):
    """The same image again: a canary that failed then is not known to fail now."""
    rules = Parameters(cohorts=("100%",), failure_budget=1)
    first = fleet.start(rules=rules)
    fleet.turn()
    name = fleet.moved(first.id)[0]
    image = fleet.farm.records.tag_target(f"apps/{name}")
    earlier = fleet.farm.database.now() - 60
    fleet.farm.abort_rollout(first.id, "wait")
    fleet.turn(2)
    assert fleet.report(name, Status.UNHEALTHY, at=earlier, image=image)
    second = fleet.start(rules=rules)
    fleet.turn(2)
    assert fleet.farm.records.tag_target(f"apps/{name}") == image
    assert fleet.state(second.id, name) is AppState.ANNOUNCED


def test_what_cannot_be_planned_or_started(fleet):
    with pytest.raises(RequestError, match="has no image"):
        fleet.farm.plan_rollout("builder:absent")
    with pytest.raises(RequestError, match="of the channel stable, not of next"):
        fleet.farm.plan_rollout(fleet.second, channel="next")
    with pytest.raises(NotFoundError, match="no rollout r77"):
        fleet.farm.start_rollout("r77")
    planned = fleet.farm.plan_rollout(fleet.first)
    with pytest.raises(ConflictError, match="still being looked at"):
        fleet.farm.start_rollout(planned.id)
    fleet.turn()
    with pytest.raises(ConflictError, match="no app that can be moved"):
        fleet.farm.start_rollout(planned.id)
    for deed in (fleet.farm.pause_rollout, fleet.farm.abort_rollout):
        with pytest.raises((RequestError, ConflictError)):
            deed(planned.id, "")
    with pytest.raises(RequestError, match="A hold needs a reason"):
        fleet.farm.hold_app(*next(iter(fleet.apps)).split("/"), "", days=1)


def test_a_rollout_waits_for_a_person_after_a_restore(fleet):
    rollout = fleet.start()
    fleet.turn()
    [canary] = fleet.moved(rollout.id)
    garbage = FarmGarbage(fleet.farm.history, fleet.farm.settings, ())
    assert garbage.rebuild().paused == [rollout.id]
    assert garbage.rebuild().paused == [], "it is paused already"
    fleet.report(canary)
    fleet.turn(3)
    found = fleet.farm.rollout(rollout.id)
    assert (found.phase, found.reason) == (Phase.PAUSED, "Redis or the registry was restored from a copy")
    assert fleet.moved(rollout.id) == [canary]
    fleet.farm.resume_rollout(rollout.id, "all hosts report")
    assert fleet.finish(rollout.id).phase is Phase.COMPLETE
