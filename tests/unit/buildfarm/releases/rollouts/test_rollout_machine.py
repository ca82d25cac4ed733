"""Whatever apps, reporters and people do: a rollout keeps its promises."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from buildfarm.errors import ConflictError
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.gate import measure
from buildfarm.releases.rollouts.rules.machine import Move, Revert, Turn, announced, next_step, observe, reverted
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.persons import Deed
from buildfarm.releases.rollouts.rules.reports import AppHealth, Observation, Status
from buildfarm.releases.rollouts.rules.states import MOVED, READY, App, AppState, Phase, Rollout

NAMES = [f"t/a{number}" for number in range(30)]
PARAMETERS = Parameters(cohorts=("1", "10%", "50%", "100%"), failure_budget=0.2, soak_seconds=60)


class Farm(RuleBasedStateMachine):
    """Rollouts of one channel over 30 apps, each to a newer base, and an orchestrator that reports what it likes."""

    @initialize(budget=st.sampled_from([0.0, 0.1, 0.3]), keep=st.booleans())
    def begin(self, budget, keep):
        self.now = 1_000_000.0
        self.parameters = PARAMETERS.model_copy(update={"failure_budget": budget, "revert_failed": not keep})
        self.base = dict.fromkeys(NAMES, 0)  # number of the rollout that each app's image comes from
        self.health = {}
        self.ended = []
        self.channel = 0
        self.rollout, self.apps = None, {}
        self.plan()

    def plan(self):
        number = len(self.ended) + (self.rollout is not None) + 1
        planned = Rollout(f"r{number}", number, "stable", f"b@{self.channel}", f"b@{number}", self.parameters,
                          checked=True, created_at=self.now, since=self.now)  # fmt: skip
        apps = {name: App(name, AppState.WAITING, previous=f"{name}@{self.base[name]}") for name in NAMES}
        others = [*self.ended, *([self.rollout] if self.rollout else [])]
        begun, waiting, before = persons.start(planned, apps, others, Deed(self.now, "ops", "a fix"))
        if self.rollout is not None:
            assert (before is not None) == (not self.rollout.phase.final)
            self.ended.append(before or self.rollout)
        self.rollout, self.apps, self.at_start = begun, {app.name: app for app in waiting}, dict(self.base)

    @precondition(lambda self: self.rollout.phase is not Phase.ABORTING and len(self.ended) < 3)
    @rule()
    def a_newer_base_arrives(self):
        with suppress(ConflictError):
            self.plan()

    @rule(steps=st.integers(1, 4))
    def the_engine_turns(self, steps):
        for _ in range(steps):
            self.apply(next_step(self.rollout, self.apps, self.health, self.now))

    def apply(self, step):
        if isinstance(step, Turn):
            self.rollout = step.rollout
            if self.rollout.phase is Phase.COMPLETE:
                self.channel = self.rollout.number
                assert not [app for app in self.apps.values() if app.state in READY], "an app is left behind"
        if isinstance(step, Move):
            assert self.rollout.phase in (Phase.CANARY, Phase.WAVE)
            assert len({app.wave for app in step.apps}) == 1
            for app in step.apps:
                assert self.apps[app.name].state in (AppState.WAITING, AppState.COMPOSED)
                assert self.base[app.name] < self.rollout.number, "an app goes to an older base"
                composed = replace(app, image=f"{app.name}@{self.rollout.number}", previous=self.image(app.name))
                before = self.status(app.name, composed.previous) is Status.UNHEALTHY
                self.apps[app.name] = announced(composed, self.now, was_unhealthy=before)
                self.base[app.name] = self.rollout.number
            gate = measure(self.rollout, self.apps, self.health, self.now)
            assert gate.pending + gate.counted <= gate.budget
        if isinstance(step, Revert):
            assert self.rollout.phase is not Phase.PAUSED
            for app in step.apps:
                assert app.state in MOVED
                assert self.rollout.phase is Phase.ABORTING or app.wave == self.rollout.wave
                self.apps[app.name] = reverted(app, "why")
                self.base[app.name] = int(app.previous.rpartition("@")[2])

    def image(self, name):
        return f"{name}@{self.base[name]}"

    def status(self, name, image):
        return self.health.get(name, AppHealth()).status(image, self.now)

    @rule(data=st.data(), status=st.sampled_from(Status), count=st.integers(1, 8))
    def apps_are_reported(self, data, status, count):
        for name in data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=count)):
            image = self.image(name)
            turned = self.now if (self.status(name, image), status) == (Status.HEALTHY, Status.UNHEALTHY) else 0.0
            kept = [one for one in self.health.get(name, AppHealth()).observations if one.digest != image]
            seen = Observation(image, "o", status, self.now + 7200, turned)
            self.health[name] = AppHealth((*kept, seen))
            self.see(name)

    @rule()
    def all_moved_apps_become_healthy(self):
        for name, app in self.apps.items():
            if app.state in MOVED:
                self.health[name] = AppHealth((Observation(app.image, "o", Status.HEALTHY, self.now + 7200),))
                self.see(name)

    def see(self, name):
        app = self.apps[name]
        if not self.rollout.phase.final:
            self.apps[name] = observe(app, self.status(name, app.image), is_running=False)

    @rule(seconds=st.sampled_from([1, 61, 901]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def a_person_pauses(self):
        with suppress(ConflictError):
            self.rollout = persons.pause(self.rollout, Deed(self.now, "ops", "I want to look"))

    @rule(extra=st.integers(0, 2))
    def a_person_resumes(self, extra):
        with suppress(ConflictError):
            self.rollout = persons.resume(self.rollout, self.apps, self.health, Deed(self.now, "ops", "seen"), extra)

    @rule(name=st.sampled_from(NAMES))
    def a_person_holds_an_app(self, name):
        self.apps[name] = persons.hold(self.apps[name], "not now")

    @rule(name=st.sampled_from(NAMES))
    def a_person_releases_an_app(self, name):
        self.apps[name] = persons.release(self.apps[name], self.rollout)

    @rule()
    def a_person_aborts(self):
        with suppress(ConflictError):
            self.rollout = persons.abort(self.rollout, Deed(self.now, "ops", "a regression"))

    @invariant()
    def a_pause_is_sticky_and_announces_nothing(self):
        if self.rollout.phase is Phase.PAUSED:
            step = next_step(self.rollout, self.apps, self.health, self.now + 1e6)
            assert not isinstance(step, Move | Revert | Turn)

    @invariant()
    def an_abort_ends_with_every_app_on_its_previous_image(self):
        if self.rollout.phase is Phase.ABORTED:
            assert self.base == self.at_start

    @invariant()
    def a_complete_rollout_has_moved_every_app_that_was_not_outside(self):
        if self.rollout.phase is Phase.COMPLETE:
            assert not [app for app in self.apps.values() if app.state in (AppState.COMPOSED, AppState.ANNOUNCED)
                        and not app.stopped and app.announced_at > self.now - 900]  # fmt: skip

    @invariant()
    def a_canary_is_one_app(self):
        if self.rollout.phase is Phase.CANARY:
            assert sum(app.state in MOVED for app in self.apps.values()) <= 1


Farm.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestFarm = Farm.TestCase
