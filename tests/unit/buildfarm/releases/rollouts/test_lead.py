"""A rollout's first app waits for hosts to have the base, and never longer than the lead time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.releases.rollouts.document import decode, encode
from buildfarm.releases.rollouts.rules.lead import NO_HOSTS, HostCount
from buildfarm.releases.rollouts.rules.machine import Move, Wait, next_step
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout

PLANNED = 1000.0
ROLLOUT = Rollout("r1", 1, "stable", "b@1", "b@2", Parameters(lead_seconds=600), Phase.CANARY, waves=2,
                  created_at=PLANNED, since=PLANNED + 300)  # fmt: skip
APPS = {f"t/{name}": App(f"t/{name}", AppState.WAITING, wave=wave) for wave, name in enumerate("ab")}


@pytest.mark.parametrize(
    ("hosts", "seconds", "moves"),
    [
        (NO_HOSTS, 599, False),
        (NO_HOSTS, 600, True),
        (HostCount(3, 2), 599, False),
        (HostCount(3, 2), 600, True),  # a host that is down does not stop a fix
        (HostCount(3, 3), 301, True),
    ],
)
def test_the_first_app_waits_until_all_hosts_have_the_base_or_the_time_is_over(hosts, seconds, moves):
    step = next_step(ROLLOUT, APPS, {}, PLANNED + seconds, hosts=hosts)
    assert isinstance(step, Move if moves else Wait)


@pytest.mark.parametrize(("hosts", "why"), [(NO_HOSTS, "none reports"), (HostCount(3, 2), "2 of 3 have it")])
def test_people_see_what_it_waits_for(hosts, why):
    step = next_step(ROLLOUT, APPS, {}, PLANNED + 590, hosts=hosts)
    assert step == Wait(f"hosts get the base: {why}; the first app moves in 10 s at the latest")


def test_a_new_host_does_not_stop_what_has_begun():
    moved = App("t/a", AppState.HEALTHY, announced_at=PLANNED + 310)
    later = replace(ROLLOUT, phase=Phase.WAVE, wave=1)
    step = next_step(later, APPS | {"t/a": moved}, {}, PLANNED + 320, hosts=HostCount(4, 3))
    assert isinstance(step, Move)


def test_a_rollout_without_a_lead_waits_for_no_host():
    step = next_step(replace(ROLLOUT, parameters=Parameters()), APPS, {}, PLANNED, hosts=HostCount(3, 0))
    assert isinstance(step, Move)


def test_the_lead_is_kept_with_the_rollout():
    assert decode(encode(ROLLOUT)) == ROLLOUT


def test_a_campaign_has_no_base_to_wait_for():
    campaign = replace(ROLLOUT, source="", base="", rebuilds="npm/lodash")
    assert isinstance(next_step(campaign, APPS, {}, PLANNED + 301, hosts=HostCount(3, 0)), Move)
