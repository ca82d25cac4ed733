"""What `buildfarm rollouts` prints and asks for, with a farm that answers from a list."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from buildfarm.cli.details import apps, rollouts
from buildfarm.errors import RequestError
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.views import GateView, HoldView, ImageChange, RolloutApp, RolloutView

SHOWN = RolloutView(
    id="r1", channel="stable", source="b@old", base="b@new", phase=Phase.PLANNED, wave=1, waves=0, checked=True,
    created_at=0, since=0, actor="ops", reason="planned", counts={AppState.WAITING: 9, AppState.HELD: 1},
)  # fmt: skip
HELD = RolloutApp(app="shop/web", state=AppState.HELD, wave=1, reasons=("ops: an audit",))
CHANGE = ImageChange(position="1-0", app="shop/web", image="new", previous="old", base="b@new", rollout="r1", wave=0,
                     reason="rollout r1")  # fmt: skip


class Farm:
    """Keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        def ask(*arguments, **named):
            self.asked.append((name, *arguments, *named.values()))
            return ANSWERS[name]

        return ask


ANSWERS = {
    "plan_rollout": SHOWN.model_copy(update={"checked": False}),
    "rollout": SHOWN,
    "rollout_apps": [HELD],
    "rollouts": [SHOWN],
    "pause_rollout": SHOWN.model_copy(
        update={
            "phase": Phase.PAUSED, "waves": 5, "reason": "lunch",
            "gate": GateView(budget=2, failures=1, excused=0, pending=1, silent=0, running=3, reported=2),
        }
    ),
    "image_changes": [CHANGE],
    "hold_app": HoldView(app="shop/web", until=0, reason="an audit", actor="ops"),
    "holds": [HoldView(app="shop/web", until=0, reason="an audit", actor="ops")],
    "release_app": None,
    "report_health": True,
}  # fmt: skip


@pytest.fixture
def farm(monkeypatch):
    found = Farm()

    @contextmanager
    def connected():
        yield found

    monkeypatch.setattr(rollouts, "connected_farm", connected)
    monkeypatch.setattr(apps, "connected_farm", connected)
    return found


def run(group, *arguments):
    done = CliRunner().invoke(group, arguments)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_plan_lists_what_the_new_base_lacks_and_what_apps_wait_for(farm, monkeypatch):
    unread = RolloutApp(app="shop/a", state=AppState.UNCHECKED, wave=1, reasons=("its files have not been read yet",))
    lacks = SHOWN.model_copy(update={"differences": ("1 packages: perl",)})
    monkeypatch.setitem(ANSWERS, "rollout", lacks)
    monkeypatch.setitem(ANSWERS, "rollout_apps", [unread, unread, HELD])
    text = run(rollouts.rollouts, "show", "r1")
    assert "lacks  1 packages: perl\n" in text
    assert "waits  2 apps: its files have not been read yet\n" in text
    assert [one["app"] for one in json.loads(run(rollouts.rollouts, "show", "r1", "--json"))["apps"]] == ["shop/web"]


def test_a_plan_waits_for_the_look_at_the_apps_and_says_how_to_start(farm):
    text = run(rollouts.rollouts, "plan", "builder:v2", "--set", "soak_seconds=60", "--set", "severity=urgent")
    assert farm.asked[:2] == [
        ("plan_rollout", "builder:v2", Parameters(soak_seconds=60, severity="urgent")), ("rollout", "r1"),
    ]  # fmt: skip
    assert "apps   9 waiting, 1 held\n" in text
    assert "held         shop/web  ops: an audit\n" in text
    assert text.endswith("buildfarm rollouts start r1 starts it.\n")


@pytest.mark.parametrize(
    ("value", "reason"),
    [("min_reports=7", "min_reports is not valid"), ("soak", "'soak' is not a parameter"), ("x=1", "x is not valid")],
)
def test_a_parameter_without_meaning_is_refused_before_anything_is_asked(farm, value, reason):
    with pytest.raises(RequestError, match=reason):
        run(rollouts.rollouts, "plan", "builder:v2", "--set", value)
    assert farm.asked == []


def test_a_pause_shows_the_gate(farm):
    text = run(rollouts.rollouts, "pause", "r1", "--reason", "lunch")
    assert farm.asked[0] == ("pause_rollout", "r1", "lunch")
    assert "paused, wave 1 of 5 since 1970-01-01 00:00:00 UTC, by ops: lunch" in text
    assert "gate   1 failed, 1 not reported yet, 2 allowed; 2 of 3 running apps of the wave reported" in text


def test_lists(farm):
    assert run(rollouts.rollouts, "list").startswith("r1    planned    wave 1 of ?")
    assert json.loads(run(rollouts.rollouts, "show", "r1", "--json"))["apps"] == [HELD.model_dump(mode="json")]
    farm.image_changes = lambda after, wait_seconds: [CHANGE] if after == "0" else []
    assert run(rollouts.rollouts, "changes") == "1-0  shop/web  new  rollout r1\n"


def test_holds_and_reports(farm):
    assert "shop/web is held until" in run(apps.apps, "hold", "shop/web", "--reason", "an audit")
    assert "by ops: an audit" in run(apps.apps, "holds")
    assert run(apps.apps, "release", "shop/web") == "shop/web is not held.\n"
    assert run(apps.apps, "health", "shop/web", "sha256:1", "--status", "stopped") == "shop/web is stopped.\n"
    assert [name for name, *_ in farm.asked] == ["hold_app", "holds", "release_app", "report_health"]
