"""What `make verify-fleet` sees of a rollout while Redis comes and goes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.releases.rollouts.rules.states import Phase
from verify.fleet.moving import Moving


def looks(*gates):
    """A rollout that is looked at once with each of these gates: what was unreported or failed, and the budget."""
    shown = iter([SimpleNamespace(phase=Phase.WAVE, gate=gate) for gate in gates])
    move = Moving(SimpleNamespace(rollout=lambda rollout_id: next(shown)), "redis")
    for _ in gates:
        move._look()
    return move


@pytest.mark.parametrize(
    ("gates", "is_kept"),
    [
        ([(1, 0, 1), (4, 2, 6)], True),
        ([(2, 0, 1), (4, 2, 6)], False),
        ([(1, 0, 1), (4, 3, 6)], False),
        ([(0, 0, 1)], False),
    ],
    ids=["within", "the canary exceeds its own", "failures count", "nothing was seen to move"],
)
def test_each_look_is_compared_with_its_own_budget(gates, is_kept):
    move = looks(*[SimpleNamespace(pending=one, failures=failed, budget=budget) for one, failed, budget in gates])
    assert move.is_within_budget is is_kept
