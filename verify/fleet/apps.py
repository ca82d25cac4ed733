"""Real apps on a base with patched libraries: what their processes map, what they bring, and which are held back.

REAL_APPS in the environment says how many apps are built, 40 unless it is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildfarm.errors import NotReadYetError
from buildfarm.farm import open_farm
from buildfarm.releases.base import read_base
from buildfarm.releases.facts.components.models import ComponentView, Contents
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.settings import read_settings
from examples.fleet.stage import Stage, stage, wait_until
from examples.orchestrator.containers import APP, OWNER
from testkit.registry.builder import push_patched
from testkit.table import Claims
from verify.fleet.mapped import FOLDER, mappings, patched_libraries
from verify.fleet.mapped import Mapping as Mapped
from verify.fleet.selection import SSL, folders
from workers.builder import Builder

REAL_APPS = int(os.environ.get("REAL_APPS", "40"))
BUNDLED = ("generic", "golang")  # kinds of components: runtimes, and what is linked into a Go program
_BACK = (AppState.NOT_MOVABLE, AppState.FAILED, AppState.REVERTED, AppState.WAITING, AppState.ANNOUNCED)
PATIENCE_SECONDS = 30  # several containers start at once
BUILD_SECONDS, ANSWER_SECONDS, READ_SECONDS, MOVE_SECONDS = 1800.0, 120.0, 600.0, 900.0


def run(claims: Claims) -> None:
    """Builds the apps, and moves them."""
    settings = read_settings()
    with open_farm(settings) as farm:
        patch = patched_libraries(f"{farm.registry.host}/{farm.builder()}")
    with folders(REAL_APPS) as apps, stage(list(apps), patch, patience_seconds=PATIENCE_SECONDS) as found:
        answers = _built(claims, found, apps)
        before = list(_mapped(found))
        _held_back(claims, found)
        _moved(claims, found, answers, before)
        _bundled(claims, found, list(answers))


def _built(claims: Claims, found: Stage, apps: Mapping[str, Path]) -> dict[str, str]:
    """Builds all, and returns the answers of those that answer; the others are named, and left out of what follows."""
    started = time.monotonic()
    builds = found.ended(apps, BUILD_SECONDS)
    took = time.monotonic() - started
    failed = {app: f"the build is {one.state}: {one.failure}" for app, one in builds.items() if one.result is None}
    until = time.monotonic() + ANSWER_SECONDS
    answers = {app: found.answer(app) for app in apps if app not in failed}
    while not all(map(_is_good, answers.values())) and time.monotonic() < until:
        time.sleep(1)
        answers |= {app: found.answer(app) for app, answer in answers.items() if not _is_good(answer)}
    failed |= {app: f"answers {answer[:300]}" for app, answer in answers.items() if not _is_good(answer)}
    _name(failed)
    figure = f"{len(apps) - len(failed)} of {len(apps)} in {took:.0f} s {', '.join(failed)}".strip()
    claims.add("real apps are built, and answer over HTTP", figure, not failed)
    return {app: answer for app, answer in answers.items() if app not in failed}


def _is_good(answer: str) -> bool:
    return answer.startswith("200")


def _name(failed: Mapping[str, str]) -> None:
    """Prints why apps do not hold; a row has no place for it."""
    for app, why in failed.items():
        print(f"  {app}: {why}", flush=True)


def _held_back(claims: Claims, found: Stage) -> None:
    """A base without libssl is planned, and nothing more."""
    repository, _, digest = found.base.partition("@")
    base = read_base(found.farm.registry, repository, digest)
    builder = Builder("unused", repository, base.digest, base.manifest, base.content)
    lacking = push_patched(found.farm.registry, builder, {f"{FOLDER}/.wh.libssl.so.3": ""}, "2026-01-01T00:00:00Z")
    planned = found.farm.plan_rollout(lacking)
    wait_until(lambda: found.farm.rollout(planned.id).checked, READ_SECONDS, "every app is looked at")
    apps = {one.app.partition("/")[2]: one for one in found.farm.rollout_apps(planned.id, [AppState.NOT_MOVABLE])}
    found.farm.abort_rollout(planned.id, "it was only planned")
    named = [app for app in SSL if app in apps and "server needs libssl.so.3" in "; ".join(apps[app].reasons)]
    example = "; ".join(apps[SSL[0]].reasons).partition(": ")[2][:100] if SSL[0] in apps else "none"
    figure = f"{len(named)} with file and soname, {len(apps)} in all: {example}"
    claims.add("a base without a library that 3 apps need: exactly these are held back", figure, set(apps) == {*named})


def _moved(claims: Claims, found: Stage, answers: dict[str, str], before: list[Mapped]) -> None:
    rules = Parameters(cohorts=("1", "40%", "100%"), failure_budget=0.25, soak_seconds=1, report_timeout_seconds=120)
    planned = found.farm.plan_rollout(found.patched, rules)
    wait_until(lambda: found.farm.rollout(planned.id).checked, READ_SECONDS, "every app is looked at")
    started = time.monotonic()
    found.farm.start_rollout(planned.id, reason="a fix of libssl")

    def ended() -> bool:
        phase = found.farm.rollout(planned.id).phase
        return phase.final or phase is Phase.PAUSED

    wait_until(ended, MOVE_SECONDS, "the rollout ends")
    done = found.farm.rollout(planned.id)
    wanted = dict.fromkeys(answers, found.patched.partition("@")[2])
    if done.phase is Phase.COMPLETE:
        wait_until(
            lambda: found.bases().items() >= wanted.items(), ANSWER_SECONDS, "every container is on the patched base"
        )
    took = time.monotonic() - started
    now = {app: found.answer(app) for app in answers}
    others = {app: f"answered {was[:150]!r}, now {now[app][:150]!r}" for app, was in answers.items() if now[app] != was}
    _name(others)
    _name({one.app: f"is {one.state}: {'; '.join(one.reasons)}" for one in found.farm.rollout_apps(planned.id, _BACK)})
    same = len(answers) - len(others)
    figure = f"{same} of {len(answers)}, {took:.0f} s; {done.phase}: {done.reason[:80]}"
    holds = done.phase is Phase.COMPLETE and not others
    claims.add(f"{len(answers)} real apps on a patched base answer over HTTP as before", figure, holds)
    after = list(_mapped(found))
    old = [one for one in after if not one.patched]
    counts = f"{len({one.process for one in after})} processes, {len(after)} mappings, {len(old)} old"
    ssl = sum(one.library == "libssl.so.3" for one in after)
    holds = bool(after) and not old and ssl >= len(SSL) and not any(one.patched for one in before)
    claims.add("every process that maps a library of the base maps the new one", f"{counts}; {ssl} of libssl", holds)


def _bundled(claims: Claims, found: Stage, apps: list[str]) -> None:
    """What apps bring along, by the farm's own list of components; another base does not mend it."""
    brought: dict[str, list[ComponentView]] = {}
    for app in apps:
        listed = _contents(found, app).components
        brought[app] = [one for one in listed if one.kind in BUNDLED and not one.in_base]
    for app, components in brought.items():
        if components:
            print(f"  {app} brings {', '.join(f'{one.name} {one.version}' for one in components[:4])}", flush=True)
    names = {f"{one.kind}/{one.name}" for components in brought.values() for one in components}
    places = {name: found.farm.where(name).places for name in sorted(names)}
    bringing = sorted(app for app, components in brought.items() if components)
    named = {one.app.partition("/")[2] for found_there in places.values() for one in found_there if not one.in_base}
    figure = f"{len(bringing)} of {len(apps)} apps: {', '.join(sorted(names))}"[:150]
    claims.add(
        "apps with a bundled runtime are listed as such after the move", figure, bool(bringing) and named >= {*bringing}
    )


def _contents(found: Stage, app: str) -> Contents:
    """The components of an app's newest image, when nodes have read its layers."""
    until = time.monotonic() + READ_SECONDS
    while True:
        try:
            return found.farm.contents(f"{found.tenant}/{app}")
        except NotReadYetError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _mapped(found: Stage) -> Iterator[Mapped]:
    owned = found.containers.engine.containers.list(filters={"label": f"{OWNER}={found.tenant}"}, ignore_removed=True)
    for container in owned:
        if APP in container.labels:
            yield from mappings(container)
