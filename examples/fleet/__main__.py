"""Tells the story line by line: ``python -m examples.fleet`` on a farm that is up."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.views import RolloutView
from examples.fleet.picture import take_picture
from examples.fleet.stage import ROOT, Stage, stage, wait_until

FRAGILE = "fragile"
FOLDERS = {
    "site": "examples/static",
    "procfile": "examples/procfile",
    "perl": "examples/perl",
    "ruby": "examples/ruby",
    "inline": "examples/inline",
    "php": "tests/apps/php/plain",
    "python": "tests/apps/python/pip-none",
    "shell": "tests/apps/shell/sh",
    "urls": "tests/apps/static/clean-urls",
    FRAGILE: "examples/fleet/fragile",
}
SOAK_SECONDS = 2
ROLLOUT_SECONDS = 120.0
_begun = time.monotonic()


def main() -> None:
    """Plays it, and ends with 1 if it does not go as it should."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    os.environ.setdefault("BUILDFARM_LOG_LEVEL", "warning")
    tell("A farm for this story starts: a node, an API, an orchestrator.")
    with stage(list(FOLDERS)) as found:
        found.build({app: ROOT / folder for app, folder in FOLDERS.items()})
        tell(f"{len(FOLDERS)} apps are built; the orchestrator starts each image that a webhook names.")
        wait_until(lambda: all(found.answer(app).startswith("200") for app in FOLDERS), 60, "every app answers")
        answers = {app: found.answer(app) for app in FOLDERS}
        tell(f"All answer over HTTP, such as {FRAGILE}: {answers[FRAGILE][4:]!r}")
        found.farm.set_channel("next", found.patched, reason="a fix of libssl")
        tell("The base has a fix. The channel next is on the patched base; the apps follow stable, which is not.")
        _goes_wrong(found, answers)
        _goes_well(found, answers)
    tell("Everything that this story has started is gone.")


def _interrupted(*_: object) -> None:
    """Leaves, and lets no further signal disturb the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit("Interrupted; what this story has started is being removed.")


def _goes_wrong(found: Stage, answers: dict[str, str]) -> None:
    planned = plan(found, 0)
    tell(f"The first rollout: {planned.id} to the patched base. A canary, then waves; soak {SOAK_SECONDS} s.")
    found.farm.start_rollout(planned.id, reason="a fix of libssl")
    paused = follow(found, planned.id)
    expect(paused.phase is Phase.PAUSED and FRAGILE in paused.reason, f"{FRAGILE} stops the rollout", paused)
    expect(found.answer(FRAGILE) == answers[FRAGILE], f"{FRAGILE} still answers, on its old container", paused)
    apps = found.farm.rollout_apps(planned.id)
    [bad] = [one for one in apps if one.app.endswith(f"/{FRAGILE}")]
    tell(f"It stopped at {FRAGILE}, whose new version fails its check: {bad.state}, {'; '.join(bad.reasons)}")
    tell(f"Its old container still serves it: {found.answer(FRAGILE)[4:]!r}")
    found.farm.abort_rollout(planned.id, "the fix breaks an app")
    tell("$ buildfarm rollouts abort: every app goes back to the image of before.")
    aborted = follow(found, planned.id)
    expect(aborted.phase is Phase.ABORTED, "the abort ends", aborted)
    settle(found, answers, dict.fromkeys(FOLDERS, found.base))
    tell(f"All {len(FOLDERS)} apps run on the old base again, and answer as before.")


def _goes_well(found: Stage, answers: dict[str, str]) -> None:
    found.farm.hold_app(found.tenant, FRAGILE, "its owner repairs it", days=1)
    planned = plan(found, 0.5)
    tell(f"The second rollout: {planned.id}. {FRAGILE} is held. Half of a wave moves at once.")
    found.farm.start_rollout(planned.id, reason="a fix of libssl")
    done = follow(found, planned.id)
    expect(done.phase is Phase.COMPLETE, "the second rollout completes", done)
    settle(found, answers, {app: found.base if app == FRAGILE else found.patched for app in FOLDERS})
    expect(found.farm.builder() == found.patched, "stable is on the patched base", done)
    tell(f"{len(FOLDERS) - 1} apps run on the patched base without a build, and answer as before. So does stable.")
    tell(take_picture(found.live, planned.id, Path(ROOT / "build/demo-fleet.png")))


def plan(found: Stage, budget: float) -> RolloutView:
    """The dry run: a node has looked at each app, and nothing has moved. At most ``budget`` of a wave may fail."""
    canary = f"{found.tenant}/site"
    rules = Parameters(
        cohorts=("1", "40%", "100%"),
        canaries=(canary,),
        failure_budget=budget,
        soak_seconds=SOAK_SECONDS,
        report_timeout_seconds=60,
    )
    planned = found.farm.plan_rollout(found.patched, rules)
    wait_until(lambda: found.farm.rollout(planned.id).checked, 60, "a node has looked at every app")
    planned = found.farm.rollout(planned.id)
    tell(f"$ buildfarm rollouts plan: {counts(planned)}. Nothing has moved.")
    return planned


def follow(found: Stage, rollout_id: str) -> RolloutView:
    """Tells each change until the rollout stops."""
    told, until = "", time.monotonic() + ROLLOUT_SECONDS
    while time.monotonic() < until:
        now = found.farm.rollout(rollout_id)
        line = f"  {now.phase}, wave {now.wave} of {now.waves}: {counts(now)}"
        if line != told:
            tell(line)
            told = line
        if now.phase.final or now.phase is Phase.PAUSED:
            return now
        time.sleep(0.2)
    raise SystemExit(f"{rollout_id} does not end: {found.farm.rollout(rollout_id).next}")


def settle(found: Stage, answers: dict[str, str], bases: dict[str, str]) -> None:
    """Waits until the orchestrator has brought each app to where it is to be, and compares the answers."""
    wanted = {app: base.partition("@")[2] for app, base in bases.items()}
    wait_until(lambda: found.bases() == wanted, 60, "every container is on its base")
    wrong = {app: found.answer(app) for app in FOLDERS if found.answer(app) != answers[app]}
    if wrong:
        raise SystemExit(f"Apps answer otherwise than before: {wrong}")


def counts(view: RolloutView) -> str:
    """How many apps are in each state."""
    return ", ".join(f"{count} {AppState(state)}" for state, count in view.counts.items())


def expect(good: bool, what: str, view: RolloutView) -> None:
    """Raises SystemExit if the story takes another turn."""
    if not good:
        raise SystemExit(f"It did not come true that {what}: {view.phase}, {view.reason}")


def tell(line: str) -> None:
    """A line of the story, with its time."""
    seconds = round(time.monotonic() - _begun, 1)
    print(f"{int(seconds // 60)}:{seconds % 60:04.1f}  {line}", flush=True)


if __name__ == "__main__":
    main()
