"""A hole in a runtime that some apps bring along: a campaign rebuilds exactly these, gated; labels after each move."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import NotReadYetError
from buildfarm.farm import open_farm
from buildfarm.model import BuildRequest, State
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.views import RolloutView
from buildfarm.settings import read_settings
from examples.fleet.stage import Stage, stage, wait_until
from localfarm.packages import ensure_packages
from testkit.table import Claims
from verify.fleet.image_labels import read
from verify.fleet.label_rules import problems
from verify.fleet.runtimes import bundling, cnb_buildpack, newer_python, of_the_base

GOOD, FRAGILE, OTHERS, CNB = ("bundled-1", "bundled-2", "bundled-3"), "fragile", ("plain", "cnb"), "cnb"
BUNDLING = (*GOOD, FRAGILE)
APPS = (*BUNDLING, *OTHERS)
BUILD_SECONDS, READ_SECONDS, ANSWER_SECONDS, END_SECONDS = 300.0, 300.0, 120.0, 300.0
RULES = Parameters(cohorts=("1", "100%"), soak_seconds=1, report_timeout_seconds=120)


@dataclass
class Trial:
    """Six apps under an orchestrator."""

    found: Stage
    old: str  # versions of Python
    new: str
    most_at_once: int = 0
    labels: dict[str, list[str]] = field(default_factory=dict)  # what is wrong with them, by the move before
    read: int = 0

    def build(self, folder: Path) -> None:
        """Builds the apps, and returns when they answer and their files have been read."""
        farm, tenant = self.found.farm, self.found.tenant
        buildpack = str(farm.pack_buildpack(cnb_buildpack(folder / "buildpack")))
        builds = []
        for app in APPS:
            path = folder / app
            source = (
                bundling(path, fails_on=self.new if app == FRAGILE else "") if app in BUNDLING else of_the_base(path)
            )
            packed, _ = farm.pack(source, tenant)
            buildpacks = (buildpack,) if app == CNB else ()
            builds.append(farm.submit(BuildRequest(tenant=tenant, app=app, source=packed, buildpacks=buildpacks)))
        for build in builds:
            ended = farm.wait(build.id, timeout_seconds=BUILD_SECONDS)
            if ended.state is not State.SUCCEEDED:
                raise SystemExit(f"The build of {build.request.app} ended as {ended.state}: {ended.failure}")
        wait_until(lambda: self.answers() == self.expected(()), ANSWER_SECONDS, f"every app answers: {self.answers()}")
        wait_until(self._is_read, READ_SECONDS, "the apps' files are read")

    def answers(self) -> dict[str, str]:
        """What each app answers."""
        return {app: self.found.answer(app) for app in APPS}

    def expected(self, newer: tuple[str, ...]) -> dict[str, str]:
        """What they are to answer if these have the newer Python."""
        return {app: f"200 Python {self.new if app in newer else self.old}" for app in APPS}

    def images(self) -> dict[str, str]:
        """The newest image of each app."""
        return {app: self.found.farm.records.tag_target(f"apps/{self.found.tenant}/{app}") for app in APPS}

    def planned(self, plan: Callable[[], RolloutView]) -> RolloutView:
        """A plan whose apps have been looked at."""
        made = plan()
        wait_until(lambda: self.found.farm.rollout(made.id).checked, READ_SECONDS, "every app is looked at")
        return self.found.farm.rollout(made.id)

    def follow(self, rollout: str) -> RolloutView:
        """The rollout when it has ended or paused; notes how many apps were under way at once."""
        until = time.monotonic() + END_SECONDS
        while True:
            found = self.found.farm.rollout(rollout)
            self.most_at_once = max(self.most_at_once, found.gate.pending if found.gate else 0)
            if found.phase.final or found.phase is Phase.PAUSED:
                return found
            if time.monotonic() > until:
                raise SystemExit(f"{found.phase} after {END_SECONDS:.0f} s: {found.reason}; {found.next}")
            time.sleep(0.1)

    def states(self, rollout: str) -> dict[str, AppState]:
        """Where the apps stand in it."""
        return {one.app.partition("/")[2]: one.state for one in self.found.farm.rollout_apps(rollout)}

    def look_at_labels(self, after: str) -> None:
        """Reads each app's image with skopeo, when its tag is where it should be."""
        wanted, host = self.images(), self.found.farm.registry.host
        wrong = self.labels.setdefault(after, [])
        for app in APPS:
            image, until = read(host, f"apps/{self.found.tenant}/{app}"), time.monotonic() + 10
            while image.digest != wanted[app] and time.monotonic() < until:
                image = read(host, f"apps/{self.found.tenant}/{app}")
            wrong += [f"{app}: {one}" for one in problems(image, by_cnb=app == CNB)]
            wrong += [f"{app}: its tag is on another image"] * (image.digest != wanted[app])
            self.read += 1

    def _is_read(self) -> bool:
        try:
            for app in APPS:
                self.found.farm.contents(f"{self.found.tenant}/{app}")
        except NotReadYetError:
            return False
        return True


def run(claims: Claims) -> None:
    """Builds, moves all apps to a base with a newer Python, and rebuilds those that bring their own."""
    ensure_packages({"skopeo": "skopeo"}, print)
    with _trial() as trial:
        trial.look_at_labels("the builds")
        _another_base(claims, trial)
        component = f"generic/python@<{trial.new}"
        _gated(claims, trial, component)
        _rebuilt(claims, trial, component)
        _labels(claims, trial.labels, trial.read)


@contextmanager
def _trial() -> Iterator[Trial]:
    settings = read_settings()
    with open_farm(settings) as farm:
        old, new, patch = newer_python(f"{farm.registry.host}/{farm.builder()}")
    with tempfile.TemporaryDirectory() as folder, stage(list(APPS), patch) as found:
        trial = Trial(found, old, new)
        trial.build(Path(folder))
        yield trial


def _another_base(claims: Claims, trial: Trial) -> None:
    """What apps take from the base is mended by it, and what they bring is not."""
    farm = trial.found.farm
    all_at_once = Parameters(cohorts=("100%",), soak_seconds=1, failure_budget=1, report_timeout_seconds=120)
    planned = trial.planned(lambda: farm.plan_rollout(trial.found.patched, all_at_once))
    farm.start_rollout(planned.id, reason="a fix of Python")
    ended = trial.follow(planned.id)
    wanted = trial.expected(OTHERS)
    if ended.phase is Phase.COMPLETE:
        wait_until(lambda: trial.answers() == wanted, ANSWER_SECONDS, f"{trial.answers()} is {wanted}")
    trial.look_at_labels("a move to another base")
    newer = sum(answer.endswith(trial.new) for answer in trial.answers().values())
    figure = f"{ended.phase}; {newer} of {len(APPS)} apps answer with Python {trial.new}"
    holds = ended.phase is Phase.COMPLETE and trial.answers() == wanted
    claims.add(f"a base with Python {trial.new} mends no app that brings Python {trial.old}", figure, holds)


def _gated(claims: Claims, trial: Trial, component: str) -> None:
    """The canary's new image fails its check."""
    farm, before = trial.found.farm, trial.images()
    rules = RULES.model_copy(update={"canaries": (f"{trial.found.tenant}/{FRAGILE}",)})
    planned = trial.planned(lambda: farm.plan_rebuild(component, rules))
    candidates = {app for app, state in trial.states(planned.id).items() if state is AppState.WAITING}
    figure = f"{len(candidates)} apps: {', '.join(sorted(candidates))}"
    claims.add(f"a campaign for {component} finds exactly the apps that bring it", figure, candidates == {*BUNDLING})
    farm.start_rollout(planned.id, reason="a hole in Python")
    paused = trial.follow(planned.id)
    states, after = trial.states(planned.id), trial.images()
    built = [app for app, image in after.items() if image != before[app]]
    begun = sum(bool(one.build) for one in farm.rollout_apps(planned.id))
    wait_until(lambda: trial.answers() == trial.expected(OTHERS), ANSWER_SECONDS, "the canary is back")
    holds = paused.phase is Phase.PAUSED and states[FRAGILE] is AppState.REVERTED and not built and begun == 1
    figure = f"{paused.phase} after {begun} build: {paused.reason[:90]}"
    claims.add("its canary fails: it goes back, and no other app is rebuilt", figure, holds)
    trial.look_at_labels("the way back of a canary")
    farm.abort_rollout(planned.id, "the newer Python breaks an app")
    aborted = trial.follow(planned.id)
    holds = aborted.phase is Phase.ABORTED and trial.images() == before
    claims.add("an abort leaves every app on its image", f"{aborted.phase}", holds)


def _rebuilt(claims: Claims, trial: Trial, component: str) -> None:
    """The others, one after another."""
    farm, before = trial.found.farm, trial.images()
    trial.most_at_once = 0
    rules = RULES.model_copy(update={"freeze": (f"{trial.found.tenant}/{FRAGILE}",)})
    planned = trial.planned(lambda: farm.plan_rebuild(component, rules))
    started = time.monotonic()
    farm.start_rollout(planned.id, reason="a hole in Python")
    ended = trial.follow(planned.id)
    wanted = trial.expected((*GOOD, *OTHERS))
    if ended.phase is Phase.COMPLETE:
        wait_until(lambda: trial.answers() == wanted, ANSWER_SECONDS, f"{trial.answers()} is {wanted}")
    took = time.monotonic() - started
    changed = {app for app, image in trial.images().items() if image != before[app]}
    holds = ended.phase is Phase.COMPLETE and changed == {*GOOD} and trial.answers() == wanted
    figure = f"{ended.phase}: {', '.join(sorted(changed))} answer with Python {trial.new}, {took:.0f} s"
    claims.add("the same hole in a bundled runtime: exactly these apps are rebuilt", figure, holds)
    figure = f"at most {trial.most_at_once} of a budget of 1"
    claims.add("no more apps are rebuilt or unreported at once than the budget", figure, trial.most_at_once == 1)
    trial.look_at_labels("the campaign")


def _labels(claims: Claims, wrong: Mapping[str, list[str]], read: int) -> None:
    print("  pack and crane cannot be installed here: what they read is checked by what the formats say", flush=True)
    found = [f"after {move}: {one}" for move, some in wrong.items() for one in some]
    figure = "; ".join(found)[:200] or f"{read} images read after {', '.join(wrong)}"
    claims.add("labels and annotations are as skopeo, pack and crane need them, after each move", figure, not found)
