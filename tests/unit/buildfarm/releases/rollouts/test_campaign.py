"""A campaign over a farm of the test's own: what is rebuilt, what counts as failed, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.errors import ConflictError
from buildfarm.model import RunPolicy, State
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import Status
from buildfarm.releases.rollouts.rules.states import AppState, Phase, Rollout
from tests.unit.buildfarm.releases.rollouts.campaign_world import BAD, GOOD, ODD, DiedError, World, nothing, started


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    nothing(monkeypatch)


def building(world):
    return [app.build for app in world.kept.values() if app.state is AppState.BUILDING]


def test_apps_are_rebuilt_in_waves_and_end_without_the_component():
    world = started(World())
    for _ in range(3):
        world.turn(2)
        for build in building(world):
            world.end(build)
        world.turn()
        for name in world.names:
            world.report(name)
        world.turn(2)
        world.clock += 61
    world.turn(2)
    assert world.rollout.phase is Phase.COMPLETE
    assert {world.contents[image] == GOOD for image in world.tags.values()} == {True}
    assert sorted(world.events) == sorted(world.tags.items()), "each image is announced once"
    assert {(one.build_class, one.run_policy, one.cached_result) for one in world.submitted} == {
        ("bulk", RunPolicy.LATEST_QUEUED, False)
    }
    assert len(world.submitted) == 3


def test_a_failed_build_counts_and_the_app_keeps_its_image():
    world = started(World())
    world.turn()
    [build] = building(world)
    world.end(build, failed=True)
    world.turn(2)
    assert (world.rollout.phase, world.tags) == (Phase.PAUSED, world.before)
    assert "1 app failed to be rebuilt, or became unhealthy: t/a" in world.rollout.reason
    [failed] = [app for app in world.kept.values() if app.state is AppState.REVERTED]
    assert failed.reasons == (f"build {build}: npm ended with 1",)


def test_an_image_that_still_has_the_component_is_withdrawn():
    world = started(World())
    world.turn()
    [build] = building(world)
    world.end(build, BAD)
    world.turn(2)
    assert (world.rollout.phase, world.tags) == (Phase.PAUSED, world.before)
    [failed] = [app for app in world.kept.values() if app.state is AppState.REVERTED]
    assert failed.reasons == ("the rebuilt image still has npm/lodash 4.17.20 (/app/x)",)


def test_an_image_is_not_announced_before_its_layers_have_been_read():
    world = started(World())
    world.turn()
    [build] = building(world)
    world.end(build, None)
    world.turn(3)
    assert (world.events, building(world)) == ([], [build])
    assert world.engine.watch.campaign.mover.unread
    world.contents[str(world.builds[build].result.digest)] = GOOD
    world.clock += 20
    world.turn()
    assert len(world.events) == 1


def test_an_unhealthy_app_goes_back_to_the_image_before():
    world = started(World())
    world.turn()
    [build] = building(world)
    world.end(build)
    world.turn()
    [(name, _)] = world.events
    world.report(name, Status.UNHEALTHY)
    world.turn(2)
    assert (world.rollout.phase, world.tags) == (Phase.PAUSED, world.before)
    assert world.kept[name].reasons == ("it became unhealthy on the rebuilt image",)


def test_a_newer_build_goes_before_the_rebuild():
    world = started(World(count=1))
    world.turn()
    [build] = building(world)
    newer = world.push("t/a0")
    assert world.builds[build].state is State.SUPERSEDED
    for _ in range(3):
        world.turn()
        world.clock += 20
    assert world.states() == {"t/a0": "waiting"}
    assert len(world.submitted) == 1, "nothing is submitted beside the newer build"
    world.end(newer, GOOD)
    world.clock += 20
    world.turn(2)
    assert (world.states(), world.rollout.phase) == ({"t/a0": "unmoved"}, Phase.COMPLETE)
    assert world.events == []


def test_a_newer_build_with_the_component_is_rebuilt_from_its_own_source():
    world = started(World(count=1))
    world.turn()
    world.end(world.push("t/a0"), BAD)
    image = world.tags["t/a0"]
    for _ in range(3):
        world.turn()
        world.clock += 20
    assert world.states() == {"t/a0": "building"}
    assert world.kept["t/a0"].previous == image


def test_a_full_queue_is_waited_for():
    world = started(World(count=1))
    world.is_full = True
    world.turn(2)
    assert world.kept["t/a0"].reasons == ("t has 1000 builds waiting",)
    world.is_full, world.clock = False, world.clock + 20
    world.turn()
    assert world.states() == {"t/a0": "building"}


def test_a_build_that_its_node_did_not_submit_is_submitted_by_the_next():
    world = started(World(count=1))
    world.writes_left = 1  # it is noted, and not submitted
    with pytest.raises(DiedError):
        world.turn()
    assert world.states() == {"t/a0": "building"}
    assert world.submitted == []
    world.restart()
    world.turn(2)
    assert len(world.submitted) == 1


def test_an_abort_cancels_builds_and_brings_images_back():
    world = started(World(count=3, rules=Parameters(cohorts=("100%",), failure_budget=1)))
    world.turn()
    first, second, third = building(world)
    world.end(first)
    world.turn()
    assert world.tags != world.before
    world.builds[third] = world.builds[third].model_copy(update={"phase": "publish", "state": State.RUNNING})
    world.person(persons.abort, Deed(world.clock, "ops", "a regression"))
    world.turn(2)
    assert world.builds[second].state is State.CANCELLED
    assert world.rollout.phase is Phase.ABORTING, "one is being published"
    world.end(third)
    world.turn(2)
    assert (world.rollout.phase, world.tags) == (Phase.ABORTED, world.before)


def test_an_abort_leaves_newer_builds_alone():
    world = started(World(count=1))
    world.turn()
    world.end(building(world)[0])
    world.turn()
    world.end(world.push("t/a0"), GOOD)
    newer = dict(world.tags)
    world.turn()
    assert world.kept["t/a0"].rebuilt
    world.person(persons.abort, Deed(world.clock, "ops", "a regression"))
    world.turn(2)
    assert (world.rollout.phase, world.tags) == (Phase.ABORTED, newer)


def test_apps_that_are_not_rebuilt_are_named_with_the_reason():
    world = World(count=5)
    names = iter(world.names)
    world.builds = {build_id: one for build_id, one in world.builds.items() if one.request.app != "a0"}
    env = world.builds["b2"].request.model_copy(update={"env": {"TOKEN": ""}})
    world.builds["b2"] = world.builds["b2"].model_copy(update={"request": env})
    git = env.model_validate({"tenant": "t", "app": "a2", "source": {"kind": "git", "url": "https://x.y/z"}})
    world.builds["b3"] = world.builds["b3"].model_copy(update={"request": git})
    world.contents[world.tags["t/a3"]] = replace(GOOD, unread={"app/y": "it is damaged"})
    world.contents[world.tags["t/a4"]], world.bases[world.tags["t/a4"]] = GOOD, BAD
    world.turn()
    found = {name: (world.kept[name].state, world.kept[name].reasons[0]) for name in names}
    assert found == {
        "t/a0": (
            AppState.NOT_MOVABLE,
            "the farm no longer has the build of its image, so its source is not known: build it again",
        ),
        "t/a1": (
            AppState.NOT_MOVABLE,
            "its last build had config vars (TOKEN), whose values are not kept: build it again",
        ),
        "t/a2": (
            AppState.NOT_MOVABLE, "its last build was of HEAD of a git repository, which can be another commit now",
        ),
        "t/a3": (
            AppState.NOT_MOVABLE,
            "it is not known whether it has it; components of some files are not known: /app/y: it is damaged",
        ),
        "t/a4": (
            AppState.FROZEN,
            "its base brings npm/lodash 4.17.20 (/app/x): a rollout to another base mends it",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("is_campaign", [True, False])
def test_a_campaign_and_another_rollout_are_not_under_way_at_once(is_campaign):
    world = World()
    world.turn()
    other = Rollout("r0", 0, "stable", "b@0", "b@1", rebuilds="" if is_campaign else "npm/ms", phase=Phase.CANARY)
    planned = world.rollout if is_campaign else replace(world.rollout, rebuilds="", source="b@1", base="b@2")
    with pytest.raises(ConflictError, match="Rollout r0 is canary, and a campaign and another rollout"):
        persons.start(planned, world.kept, [other], Deed(world.clock, "ops", ""))


NOT_KNOWN = "the version of npm/lodash latest (/app/x) cannot be compared"


def test_a_version_that_cannot_be_compared_holds_up_no_other_app():
    world = World(count=2)
    world.contents[world.tags["t/a0"]] = ODD
    world.turn()
    assert world.rollout.checked
    assert world.states() == {"t/a0": "not_movable", "t/a1": "waiting"}
    assert NOT_KNOWN in world.kept["t/a0"].reasons[0]


def test_a_newer_build_whose_version_cannot_be_compared_stops_no_campaign():
    world = started(World(count=1))
    world.turn()
    world.end(building(world)[0])
    world.turn()
    world.end(world.push("t/a0"), ODD)
    world.turn()
    assert world.kept["t/a0"].rebuilt
    world.person(persons.abort, Deed(world.clock, "ops", "a regression"))
    world.turn(2)
    assert world.rollout.phase is Phase.ABORTED


def test_a_rebuilt_image_whose_version_cannot_be_compared_is_withdrawn():
    world = started(World(count=1))
    world.turn()
    world.end(building(world)[0], ODD)
    world.turn()
    assert (world.states(), world.tags) == ({"t/a0": "reverted"}, world.before)
    why = f"it is not known whether the rebuilt image still has it: {NOT_KNOWN}"
    assert world.kept["t/a0"].reasons == (why,)


def test_a_file_that_could_not_be_read_before_either_is_named_and_does_not_stop_the_app():
    world, damaged = World(count=1), {"app/y": "it is damaged"}
    world.contents[world.tags["t/a0"]] = replace(BAD, unread=damaged)
    world = started(world)
    world.turn()
    world.end(building(world)[0], replace(GOOD, unread=damaged))
    world.turn()
    assert world.states() == {"t/a0": "announced"}
    assert world.kept["t/a0"].reasons == ("components of some files are not known: /app/y: it is damaged",)
    world.report("t/a0")
    world.turn(2)
    world.clock += 61
    world.turn(2)
    assert world.rollout.phase is Phase.COMPLETE
    assert world.rollout.reason.endswith("of 1 app some files are not known")


def test_a_stopped_app_that_is_rebuilt_again_counts_as_pending():
    world = started(World(count=1))
    world.turn()
    world.end(building(world)[0])
    world.turn()
    world.kept["t/a0"] = replace(world.kept["t/a0"], stopped=True)
    world.restart()
    world.end(world.push("t/a0"), BAD)
    for _ in range(3):
        world.turn()
        world.clock += 20
    assert world.states() == {"t/a0": "building"}
    assert world.kept["t/a0"].is_pending
    assert world.rollout.phase is Phase.CANARY
