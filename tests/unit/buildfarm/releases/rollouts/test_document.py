"""A rollout comes back from Redis as it was written."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.releases.models import Rebase
from buildfarm.releases.rollouts.changes import Announcement, Change
from buildfarm.releases.rollouts.document import decode, decode_app, encode, encode_app
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import App, Phase, Rollout
from buildfarm.releases.rollouts.rules.window import Window

WINDOWS = st.none() | st.builds(Window, hours=st.just((22, 4)), zone=st.sampled_from(["UTC", "Europe/Paris"]))
PARAMETERS = st.builds(
    Parameters,
    cohorts=st.just(("1", "2.5%", "100%")),
    canaries=st.just(()) | st.just(("shop/web",)),
    freeze=st.just(()),
    window=WINDOWS,
    soak_seconds=st.floats(0, 100),
    report_timeout_seconds=st.just(9.5),
    failure_budget=st.floats(0, 1),
    min_reports=st.just(0.5),
    max_in_flight=st.integers(1, 99),
)
ROLLOUTS = st.builds(Rollout, parameters=PARAMETERS, paused_in=st.none() | st.sampled_from(Phase))
APPS = st.builds(App, name=st.just("shop/web"), reasons=st.tuples() | st.tuples(st.text()))


@given(ROLLOUTS)
def test_a_rollout_comes_back(rollout):
    assert decode(encode(rollout)) == rollout
    newer = json.dumps({**json.loads(encode(rollout)), "of_a_newer_version": 1})
    assert decode(newer) == rollout


@given(APPS)
def test_an_app_comes_back(app):
    assert decode_app(app.name, encode_app(app)) == app
    newer = json.dumps({**json.loads(encode_app(app)), "of_a_newer_version": 1})
    assert decode_app(app.name, newer) == app


def rollout(phase):
    return Rollout("r2", 2, "stable", "b@old", "b@new", phase=phase, revision=7)


def test_a_change_says_what_it_was_made_of():
    entry = Rebase(at=1, image="new", previous="old", base="b@new", previous_base="b@old", moved=True)
    move = Announcement(App("shop/web"), entry, "b@new", "a fix")
    change = Change(rollout(Phase.WAVE), rollout(Phase.WAVE), move=move)
    told = json.loads(change.encode())
    [one] = told["rollouts"]
    assert (one["revision"], one["active"]) == ("7", True)
    assert one["next"] == str(change.written.revision)
    assert change.written.revision > 7
    assert list(one["apps"]) == ["shop/web"]
    assert "log" not in one
    assert (told["move"]["before"], told["move"]["after"], told["move"]["base"]) == ("old", "new", "b@new")


def test_a_revision_that_was_lost_does_not_come_again():
    """Two changes of the same rollout: one is lost with a Redis, and the other one must not pass for it."""
    before = rollout(Phase.WAVE)
    assert len({Change(before, before).written.revision for _ in range(5)}) > 1


def test_a_rollout_is_read_on_a_machine_that_does_not_know_its_zone():
    kept = json.loads(encode(rollout(Phase.WAVE)))
    kept["parameters"]["window"] = {"hours": [24, 0], "zone": "Mars/Base"}
    read = decode(json.dumps(kept))
    assert read.parameters.window.zone == "Mars/Base"
    assert not read.parameters.window.is_open(0.0)


def test_a_rollout_that_ends_another_changes_both_or_none():
    ended = rollout(Phase.SUPERSEDED)
    told = json.loads(Change(rollout(Phase.PLANNED), rollout(Phase.CANARY), ends=ended).encode())
    assert [one["revision"] for one in told["rollouts"]] == ["7", "7"]
    assert [one.get("final") for one in told["rollouts"]] == [None, True]
    assert all("log" in one for one in told["rollouts"])
