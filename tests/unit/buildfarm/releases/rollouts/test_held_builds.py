"""How long held builds have waited behind other builds of their tenants."""

from __future__ import annotations

from buildfarm.releases.rollouts.rebuilds.held import HELD_SECONDS_MAX, HeldBuilds


def looks(held, seconds, *, counts=True, begin=0.0, rollout="r1"):
    """One look each 10 s; what the last one finds."""
    found = set()
    for now in range(0, int(seconds) + 1, 10):
        found = held.too_long(rollout, [("b", counts)], begin + now)
    return found


def test_a_build_that_others_hold_for_an_hour_waits_too_long():
    held = HeldBuilds()
    assert not looks(held, HELD_SECONDS_MAX)
    assert held.too_long("r1", [("b", True)], HELD_SECONDS_MAX + 10) == {"b"}


def test_time_in_which_nothing_of_the_tenant_runs_does_not_count():
    held = HeldBuilds()
    looks(held, 3000)
    assert not looks(held, 9000, counts=False, begin=3000)
    assert not looks(held, 590, begin=12_000)
    assert looks(held, 20, begin=12_600) == {"b"}


def test_an_outage_counts_as_one_look():
    held = HeldBuilds()
    looks(held, 100)
    assert not held.too_long("r1", [("b", True)], 100_000)


def test_a_build_begins_anew_once_the_campaign_has_another_one_under_way():
    held = HeldBuilds()
    looks(held, 3600)
    held.too_long("r1", [], 3605)
    assert not looks(held, 3600, begin=3610)


def test_looks_at_another_campaign_s_plan_change_nothing():
    held = HeldBuilds()
    looks(held, 3600)
    held.too_long("r2", [], 3601)
    assert held.too_long("r1", [("b", True)], 3610) == {"b"}


def test_what_is_not_looked_at_any_more_is_forgotten():
    held = HeldBuilds()
    looks(held, 100)
    held.too_long("r2", [], 100 + HELD_SECONDS_MAX)
    assert not held.known
