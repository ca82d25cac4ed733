"""Whatever builds, tenants, nodes, reporters and people do: a campaign keeps its promises, also if its node dies."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from buildfarm.errors import ConflictError, TooLateError
from buildfarm.model import Fault, State
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.gate import measure
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import Status
from buildfarm.releases.rollouts.rules.states import MOVED, READY, AppState, Phase
from tests.unit.buildfarm.releases.rollouts.campaign_world import BAD, GOOD, ODD, DiedError, World, nothing, started

COUNT = 6
WAYS = ["good", "bad", "odd", "unread", "failed", "by the farm", "cancelled", "publishing", "running"]
NAMES = st.sampled_from([f"t/a{number}" for number in range(COUNT)])


class Campaigns(RuleBasedStateMachine):
    """One campaign over six apps, and a farm that builds, fails, supersedes and dies as it likes."""

    @initialize(budget=st.sampled_from([0.2, 0.5, 1.0]), rounds=st.integers(0, 3))
    def begin(self, budget, rounds):
        self.patch = pytest.MonkeyPatch()
        nothing(self.patch)
        rules = Parameters(cohorts=("1", "50%", "100%"), soak_seconds=60, failure_budget=budget)
        self.world = started(World(COUNT, rules))
        self.pushed = set()  # images of tenants' builds
        for _ in range(rounds):
            self.a_round_goes_as_it_should(GOOD)
            self.world.clock += 61

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.undo()

    @rule(times=st.integers(1, 3))
    def the_engine_turns(self, times):
        self.turn(times)

    @rule(writes=st.integers(0, 6))
    def the_node_dies_after_some_writes(self, writes):
        self.world.writes_left = writes
        with suppress(DiedError):
            self.turn(2)
        self.world.restart()

    def turn(self, times):
        world, quiet = self.world, self.world.rollout.phase is Phase.PAUSED
        for _ in range(times):
            before, submitted, events = dict(world.tags), len(world.submitted), len(world.events)
            world.turn()
            if quiet:
                assert (dict(world.tags), len(world.submitted), len(world.events)) == (before, submitted, events)
            for name, image in before.items():
                if image in self.pushed and world.tags[name] != image:
                    assert world.tags[name] not in world.before.values(), "a tenant's deploy was undone"

    @precondition(lambda self: self.open())
    @rule(data=st.data(), how=st.sampled_from(WAYS))
    def a_build_goes_on(self, data, how):
        build = data.draw(st.sampled_from(self.open()))
        if how in ("publishing", "running"):
            phase = "publish" if how == "publishing" else None
            self.world.builds[build.id] = build.model_copy(update={"state": State.RUNNING, "phase": phase})
        elif how in ("failed", "by the farm"):
            self.world.end(build.id, failed=True, fault=Fault.APP if how == "failed" else Fault.FARM)
        elif how == "cancelled":
            with suppress(TooLateError):
                self.world.cancel(build.id)
        else:
            self.world.end(build.id, {"good": GOOD, "bad": BAD, "odd": ODD, "unread": None}[how])
            if build.id not in self.world.ours:
                self.pushed.add(self.world.tags[f"t/{build.request.app}"])

    def open(self):
        return [one for one in self.world.builds.values() if not one.state.final]

    @rule(contents=st.sampled_from([GOOD, BAD]))
    def layers_are_read(self, contents):
        self.world.contents |= {image: contents for image, found in self.world.contents.items() if found is None}

    @rule(name=NAMES, is_built=st.booleans())
    def a_tenant_pushes(self, name, is_built):
        build = self.world.push(name)
        if is_built:
            self.world.end(build, BAD)
            self.pushed.add(self.world.tags[name])

    @rule(name=NAMES, status=st.sampled_from(Status))
    def an_app_is_reported(self, name, status):
        self.world.report(name, status)

    @rule()
    def all_apps_are_healthy(self):
        for name in self.world.names:
            self.world.report(name)

    @rule(seconds=st.sampled_from([1, 20, 61, 901, 3601]))
    def time_passes(self, seconds):
        self.world.clock += seconds

    @rule(is_full=st.booleans())
    def the_queue_fills_or_empties(self, is_full):
        self.world.is_full = is_full

    @rule(is_held=st.booleans())
    def the_tenant_has_as_many_builds_as_it_may(self, is_held):
        self.world.is_held = is_held

    @rule(what=st.sampled_from(["pause", "resume", "resume", "resume", "resume", "abort"]), extra=st.integers(0, 3))
    def a_person_changes_it(self, what, extra):
        world, deed = self.world, Deed(self.world.clock, "ops", "a reason")
        with suppress(ConflictError):
            if what == "resume":
                world.person(persons.resume, world.kept, world.health, deed, extra)
            else:
                world.person(getattr(persons, what), deed)

    @rule(contents=st.sampled_from([GOOD, GOOD, GOOD, BAD, None]))
    def a_round_goes_as_it_should(self, contents):
        self.turn(1)
        for build in self.open():
            if build.id in self.world.ours:
                self.world.end(build.id, contents)
        self.world.clock += 30
        self.turn(1)
        self.all_apps_are_healthy()
        self.turn(2)

    @invariant()
    def an_app_has_at_most_one_rebuild(self):
        for name in self.world.names:
            assert sum(build.id in self.world.ours for build in self.world.open(name)) <= 1

    @invariant()
    def announced_images_do_not_have_the_component(self):
        for app in self.world.kept.values():
            if app.state in MOVED:
                # A tenant's own build whose version cannot be compared stops no campaign.
                assert self.world.contents[app.image] in ([GOOD, ODD] if app.rebuilt else [GOOD])

    @invariant()
    def what_is_complete_has_left_no_app_behind(self):
        world = self.world
        if world.rollout.phase is Phase.COMPLETE:
            assert not [app for app in world.kept.values() if app.state in READY or app.state is AppState.BUILDING]

    @invariant()
    def no_more_apps_are_rebuilt_at_once_than_the_budget_leaves(self):
        world = self.world
        gate = measure(world.rollout, world.kept, world.health, world.clock)
        building = sum(app.state is AppState.BUILDING for app in world.kept.values())
        assert building <= gate.budget

    @invariant()
    def an_abort_ends_with_every_app_on_its_image_or_on_a_tenants(self):
        world = self.world
        if world.rollout.phase is not Phase.ABORTED:
            return
        for name, app in world.kept.items():
            assert app.state not in MOVED
            ours = {str(one.result.digest) for one in map(world.builds.get, world.ours) if one.result}
            if app.state is AppState.REVERTED:
                assert world.tags[name] not in ours


TestCampaigns = Campaigns.TestCase
TestCampaigns.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
