"""A node that moves apps is killed in the middle of a wave, and another one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from testkit.builds import wait_for

LEADER = """
import os, time
from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from workers.wiring import open_rollouts

settings = read_settings().model_copy(update={"node_id": "killed"})
with open_farm(settings) as farm:
    engine = open_rollouts(farm, Nodes(farm.database), logger())
    tags = type(engine.mover).tags
    # Announced, and the tags have not moved: the worst moment.
    type(engine.mover).tags = lambda *_: (print("announced", flush=True), time.sleep(600))
    while True:
        engine.turn()
        time.sleep(0.05)
"""


def test_another_node_goes_on_when_the_leader_is_killed_in_a_wave(fleet):
    rollout = fleet.start(rules=Parameters(cohorts=("100%",), soak_seconds=0, failure_budget=0.4))
    settings = fleet.farm.settings
    variables = {
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_REGISTRY_URL": settings.registry_url,
        "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
        "BUILDFARM_LAYER_FACTS": "false",  # as in the test's own engine: nothing reads layers here
    }
    fleet.farm.database.client.delete(fleet.farm.database.key("roller"))  # the test's own engine had the duty
    command = [sys.executable, "-c", LEADER]
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline().strip() == "announced"
        leader.send_signal(signal.SIGKILL)
    moved = fleet.moved(rollout.id)
    assert len(moved) == 4
    assert fleet.deployed.tags(moved) == {name: fleet.apps[name] for name in moved}
    engine = fleet.open_engine("second")
    engine.turn()
    assert len(fleet.moved(rollout.id)) == 4, "the first one's hold lasts for some seconds"

    def done() -> bool:
        engine.turn()
        fleet.report_all(rollout.id)
        return fleet.farm.rollout(rollout.id).phase.final

    wait_for(done, 60)
    found = fleet.farm.rollout(rollout.id)
    assert (found.phase, found.counts) == (Phase.COMPLETE, {AppState.HEALTHY: 10})
    # Those of the killed one are marked: a node moves the tags of all within seconds.
    unsettled = fleet.farm.database.client.zrange(fleet.farm.database.key("unsettled"), 0, -1)
    assert {f"apps/{name}" for name in moved} <= set(unsettled)
