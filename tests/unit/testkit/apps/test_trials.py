"""Which apps are built on whose cache by `make verify-apps`."""

from __future__ import annotations

import pytest

from testkit.apps.samples import APPS, App
from testkit.apps.trials import Outcome
from verify.apps import SLOTS, chains, summary

RESULT = object()


def outcome(family, name, result=RESULT):
    return Outcome(App(family, name, APPS, answers="x"), result=result)


def test_the_apps_of_a_family_that_gave_an_image_are_built_in_turn_and_each_once():
    outcomes = [outcome("go", f"app-{number}") for number in range(5)] + [outcome("rust", "shop")]
    rows = [(name, [one.app.label for one in row]) for row, name in chains([*outcomes, outcome("rust", "bad", None)])]
    assert sorted(label for _, row in rows for label in row) == sorted(one.app.label for one in outcomes)
    assert len({name for name, _ in rows}) == len(rows) == 2 * SLOTS
    assert all(len({label.partition("/")[0] for label in row}) <= 1 for _, row in rows)


@pytest.mark.parametrize(
    ("same", "told"), [(True, "1 of 1 give the same image"), (False, "0 of 1 give the same image")]
)
def test_the_summary_counts_those_that_came_out_the_same(same, told):
    one = outcome("go", "app")
    one.on_others = same
    assert told in summary([one, outcome("go", "bad", None)], 1)
