"""Rollouts that a restore pauses, while their engine or Redis' replicas are in the way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from buildfarm.errors import ConflictError, UnconfirmedError
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import Phase, Rollout
from buildfarm.releases.rollouts.store import Rollouts, pause_rollouts

MOVING = Rollout("r1", 1, "stable", "", "", Parameters(), phase=Phase.WAVE)
DATABASE = SimpleNamespace(now=lambda: 1.0)


@pytest.fixture
def world(monkeypatch):
    """Its answers to changes; an engine writes before each one that is stale."""
    found = SimpleNamespace(rollout=MOVING, answers=["done"], made=[])

    def change(self, change):
        answer = found.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer == "done":
            assert change.before == found.rollout
            found.made.append(change.after)
        else:
            found.rollout = replace(found.rollout, revision=found.rollout.revision + 1)
        return answer

    monkeypatch.setattr(Rollouts, "all", lambda self: [MOVING])
    monkeypatch.setattr(Rollouts, "get", lambda self, rollout: found.rollout)
    monkeypatch.setattr(Rollouts, "change", change)
    return found


def test_a_rollout_that_goes_on_meanwhile_is_paused_all_the_same(world):
    world.answers = ["stale", "stale", "done"]
    assert pause_rollouts(DATABASE, "ops", "a restore") == ["r1"]
    [after] = world.made
    assert (after.phase, after.revision) == (Phase.PAUSED, 2)


def test_a_replica_that_is_not_there_yet_does_not_end_a_restore(world):
    world.answers = [UnconfirmedError("too few replicas")]
    assert pause_rollouts(DATABASE, "ops", "a restore") == ["r1"]


def test_a_rollout_that_cannot_be_paused_is_not_passed_over(world):
    world.answers = ["stale"] * 1000
    with pytest.raises(ConflictError, match="r1 changes all the time"):
        pause_rollouts(DATABASE, "ops", "a restore")
