"""Nodes and workers that die, freeze, fill up, and are told to go."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager

import pytest

from buildfarm.errors import TooLateError
from buildfarm.model import Phase, State
from buildfarm.node import NodeState
from testkit.builds import promised
from testkit.cluster import network
from testkit.cluster.cluster import wait_for_node
from testkit.cluster.proxy import tag_hold
from testkit.cluster.services import REGISTRY_ADDRESS, REGISTRY_PORT
from testkit.cluster.shell import wait
from tests.faults.fleet import DISK_FREE_BYTES, DRAIN_SECONDS

PHASES = [Phase.PREPARE, Phase.DETECT, Phase.COMPILE, Phase.EXPORT]
PROXY = (network.GATEWAY, 6501)


def started_elsewhere(fleet, build, acted_at):
    """Seconds until the next attempt runs; on which node, is told."""
    again = fleet.running(build.id, attempt=build.attempt + 1)
    seconds = time.monotonic() - acted_at
    assert again.node != build.node
    return seconds


@pytest.mark.fault("worker killed -9 in {phase}", "runs on another node within 15 s; exactly one image is published")
@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=pytest.mark.short if phase is Phase.COMPILE else ()) for phase in PHASES]
)
def test_a_worker_is_killed(fleet, seen, phase):
    build, acted_at = fleet.in_phase(phase, then=lambda build: fleet.cluster.node(build.node).kill_worker())
    seconds = started_elsewhere(fleet, build, acted_at)
    seen.say(f"again after {seconds:.1f} s")
    assert seconds <= promised(15)
    fleet.succeeded_once(build.id)
    fleet.restart(fleet.cluster.node(build.node))
    fleet.nothing_left()
    seen.say("1 image, nothing left")


def end_pops(fleet):
    """Every blocking pop that waits in Redis is over."""
    client = fleet.farm.database.client
    for connection in client.client_list():
        if connection["cmd"] == "brpop":
            client.client_unblock(int(connection["id"]))


@pytest.mark.short
@pytest.mark.fault(
    "a build is offered to the node that built its app last, and that node is killed -9 before it claims it",
    "another node claims it within 0.2 s of the submit; one attempt, one image",
)
def test_the_last_node_of_an_app_is_killed_with_an_offer(fleet, seen):
    last = fleet.succeeded_once(fleet.submit(app="again"))
    machine = fleet.cluster.node(last.node)
    wait_for_node(fleet.farm, machine, lambda node: not node.builds)
    [seen_at] = [node.seen_at for node in fleet.farm.nodes() if node.id == machine.id]
    wait_for_node(fleet.farm, machine, lambda node: node.seen_at > seen_at)  # a heartbeat of just now
    # It claims nothing from now on, and its last heartbeat says for some seconds that it has room.
    machine.signal_worker(signal.SIGSTOP)
    end_pops(fleet)  # so that Redis hands it no message; those of other nodes begin anew
    build_id = fleet.submit(app="again")
    machine.kill_worker()
    build = fleet.succeeded_once(build_id)
    offered = fleet.farm.database.client.hget(fleet.farm.database.key("build", build_id), "offered")
    seconds = build.started_at - build.submitted_at
    seen.say(f"claimed by another node after {seconds:.2f} s, attempt {build.attempt}")
    assert offered == last.node
    assert build.node != last.node
    assert build.attempt == 1
    assert seconds <= promised(0.2)


@contextmanager
def publishing(fleet):
    """A build on node 1 that is in its phase publish, the request that moves its tag held on its way; and the hold."""
    machine = fleet.only(1)
    try:
        with tag_hold(PROXY, (REGISTRY_ADDRESS, REGISTRY_PORT), "latest") as hold:
            fleet.restart(machine, BUILDFARM_REGISTRY_URL=f"http://{PROXY[0]}:{PROXY[1]}")
            build_id = fleet.submit("sleep 1")
            wait(hold.held.is_set, lambda: f"nothing to hold: {fleet.farm.get(build_id)}", 60)
            for other in fleet.cluster.machines[1:]:
                other.start_worker()
            for other in fleet.cluster.machines[1:]:
                wait_for_node(fleet.farm, other, lambda node: node.accepting)
            build = fleet.farm.get(build_id)
            assert (build.state, build.phase) == (State.RUNNING, Phase.PUBLISH)
            yield build, hold
    finally:
        if machine.works:
            machine.kill_worker()


@pytest.mark.short
@pytest.mark.fault(
    "worker killed -9 in publish, its tag's move held on the way", "succeeds within 15 s; record, tag and image agree"
)
def test_a_worker_is_killed_in_publish(fleet, seen):
    with publishing(fleet) as (build, _):
        killed_at = time.monotonic()
        fleet.cluster.node(build.node).kill_worker()
        wait(lambda: fleet.farm.get(build.id).state.final, "it does not end", promised(15))
        seconds = time.monotonic() - killed_at
        end = fleet.farm.get(build.id)
        assert (end.state, end.attempt) == (State.SUCCEEDED, 1)
        wait(lambda: fleet.tag_is_at_image(end), "its tag does not move", promised(15))
        agreed = time.monotonic() - killed_at
    seen.say(f"succeeded after {seconds:.1f} s in attempt 1, its tag moved by another node after {agreed:.1f} s")
    assert agreed <= promised(15)
    assert fleet.published(build.id) == 1


@pytest.mark.fault(
    "cancel in publish, its tag's move held on the way", "refused as too late; succeeds, tag and record agree"
)
def test_a_build_that_publishes_is_cancelled(fleet, seen):
    with publishing(fleet) as (build, hold):
        with pytest.raises(TooLateError) as refused:
            fleet.farm.cancel(build.id)
        hold.release()
        end = fleet.succeeded_once(build.id, 30)
    seen.say(f"{refused.value.code}; {end.state} in attempt {end.attempt}")
    assert end.attempt == 1


@pytest.mark.fault(
    "3 nodes, 60 builds, one node powered off every 10 s and booted again", "60 succeed, 0 lost, 0 twice"
)
def test_nodes_die_under_sixty_builds(fleet, seen):
    ids = [fleet.submit() for _ in range(60)]
    over = threading.Event()
    kills = []

    def nemesis():
        while not over.wait(10):
            machine = fleet.cluster.machines[len(kills) % 3]
            machine.power_off()
            machine.boot()
            machine.start_worker()
            kills.append(machine.id)

    thread = threading.Thread(target=nemesis)
    thread.start()
    try:
        started = time.monotonic()
        builds = [fleet.ended(build_id, 240) for build_id in ids]
    finally:
        over.set()
        thread.join()
    attempts = [build.attempt for build in builds]
    good = sum(build.state is State.SUCCEEDED for build in builds)
    twice = sum(fleet.published(build_id) > 1 for build_id in ids)
    again = sum(attempt > 1 for attempt in attempts)
    seen.say(
        f"{good} of 60 in {time.monotonic() - started:.0f} s, {len(kills)} nodes killed, {again} builds built again"
    )
    seen.say(f"at most {max(attempts)} attempts, {twice} twice")
    assert (good, twice) == (60, 0)
    assert kills


@pytest.mark.short
@pytest.mark.fault("a build that kills its worker each time", "3 attempts, then failed as such; others succeed")
def test_a_poisonous_build(fleet, seen):
    poison = fleet.submit("sleep 100", app="poison")
    others = [fleet.submit("sleep 1") for _ in range(6)]
    for attempt in (1, 2, 3):
        build = fleet.running(poison, Phase.COMPILE, attempt=attempt)
        machine = fleet.cluster.node(build.node)
        if attempt > 1:  # three kills in a row would be the end of a neighbour too
            wait_for_node(fleet.farm, machine, lambda node: list(node.builds) == [poison], 60)
        machine.kill_worker()
        machine.start_worker()
    end = fleet.ended(poison, 30)
    seen.say(f"{end.attempt} attempts, {end.failure.code}")
    assert (end.state, end.attempt, end.failure.code) == (State.FAILED, 3, "farm.node_lost")
    for build_id in others:
        fleet.succeeded_once(build_id)
    seen.say("6 others succeeded")


@pytest.mark.fault(
    "disk of a node filled up", "no new claims within 5 s, running builds finish or move, it recovers by itself"
)
def test_a_disk_is_full(fleet, seen):
    build_id = fleet.submit("sleep 6; head -c 30000000 /dev/urandom > made")
    build = fleet.running(build_id, Phase.COMPILE)
    machine = fleet.cluster.node(build.node)
    filled_at, clock = time.monotonic(), time.time()
    machine.fill_disk(leave_bytes=5_000_000)
    wait_for_node(fleet.farm, machine, lambda node: node.state is NodeState.CLOSED, 10)
    closed = time.monotonic() - filled_at
    seen.say(f"closed after {closed:.1f} s")
    assert closed <= promised(5)
    others = [fleet.succeeded_once(other) for other in [fleet.submit() for _ in range(6)]]
    # Redis may hand a message to a worker that had asked for it just before it closed.
    there = [other.started_at - clock for other in others if other.node == machine.id]
    assert len(there) <= 1
    assert all(seconds <= promised(5) for seconds in there)
    end = fleet.succeeded_once(build_id)
    seen.say("the running build finished" if end.attempt == 1 else f"the running build moved to {end.node}")
    [node] = [node for node in fleet.farm.nodes() if node.id == machine.id]
    assert "disk is full" in node.reason
    emptied_at = time.monotonic()
    machine.empty_disk()
    wait_for_node(fleet.farm, machine, lambda node: node.accepting, 30)
    seen.say(f"open again {time.monotonic() - emptied_at:.1f} s after there was room")
    assert node.disk_free_bytes + 10**12 > DISK_FREE_BYTES


@pytest.mark.short
@pytest.mark.fault(
    "node frozen past its lease, then thawed", "its late writes are refused; the other node's result stands"
)
def test_a_node_is_frozen(fleet, seen):
    build_id = fleet.submit("for i in $(seq 15); do echo tick; sleep 0.5; done")
    build = fleet.running(build_id, Phase.COMPILE)
    machine = fleet.cluster.node(build.node)
    frozen_at = time.monotonic()
    machine.freeze(on=True)
    try:
        seconds = started_elsewhere(fleet, build, frozen_at)
        seen.say(f"again after {seconds:.1f} s")
        end = fleet.succeeded_once(build_id)
        before = len(fleet.log(build_id))
    finally:
        machine.freeze(on=False)
    wait_for_node(fleet.farm, machine, lambda node: node.accepting and not node.builds, 60)
    fleet.nothing_left()
    assert fleet.farm.get(build_id) == end
    assert fleet.published(build_id) == 1
    assert len(fleet.log(build_id)) == before
    wait(lambda: '"outcome": "lost"' in machine.log, "the node does not say that it lost the build", 30)
    seen.say("after the thaw: 0 log lines, 0 results taken from it, nothing left")


@pytest.mark.fault("SIGTERM under load", "0 failed builds, exit 0 within the grace time")
def test_a_node_is_told_to_end(fleet, seen):
    ids = [fleet.submit("sleep 3") for _ in range(9)]
    fleet.running(ids[0], Phase.COMPILE)
    machine = fleet.cluster.machines[0]
    wait_for_node(fleet.farm, machine, lambda node: bool(node.builds), 30)
    told_at = time.monotonic()
    machine.signal_worker(signal.SIGTERM)
    code = machine.worker_ended(DRAIN_SECONDS + 15)
    seconds = time.monotonic() - told_at
    builds = [fleet.succeeded_once(build_id) for build_id in ids]
    failed = sum(build.state is not State.SUCCEEDED for build in builds)
    again = sum(build.attempt > 1 for build in builds)
    seen.say(f"exit {code} after {seconds:.1f} s of {DRAIN_SECONDS}; {failed} failed, {again} built again")
    assert code == 0
    assert seconds <= DRAIN_SECONDS


@pytest.mark.short
@pytest.mark.fault(
    "SIGTERM twice under builds that take longer than the grace time", "handed back at once, exit 0, none failed"
)
def test_a_node_is_told_twice(fleet, seen):
    ids = [fleet.submit("sleep 12") for _ in range(2)]
    build = fleet.running(ids[0], Phase.COMPILE)
    machine = fleet.cluster.node(build.node)
    machine.signal_worker(signal.SIGTERM)
    wait_for_node(fleet.farm, machine, lambda node: node.state is NodeState.DRAINING, 10)
    told_at = time.monotonic()
    machine.signal_worker(signal.SIGTERM)
    code = machine.worker_ended(20)
    seconds = time.monotonic() - told_at
    again = started_elsewhere(fleet, build, told_at)
    assert machine.left_behind() == []
    ends = [fleet.succeeded_once(build_id) for build_id in ids]
    seen.say(f"exit {code} after {seconds:.1f} s, again elsewhere after {again:.1f} s, {len(ends)} of 2 succeeded")
    assert code == 0
    assert seconds <= promised(5)


@pytest.mark.fault("buildfarm nodes drain NAME", "takes no more builds, ends its own, leaves; none failed")
def test_a_node_is_drained_by_order(fleet, seen):
    ids = [fleet.submit("sleep 3") for _ in range(6)]
    machine = fleet.cluster.machines[1]
    wait_for_node(fleet.farm, machine, lambda node: bool(node.builds), 30)
    told_at = time.monotonic()
    fleet.farm.drain(machine.id)
    code = machine.worker_ended(DRAIN_SECONDS + 15)
    seen.say(f"exit {code} after {time.monotonic() - told_at:.1f} s")
    assert code == 0
    assert machine.id not in [node.id for node in fleet.farm.nodes()]
    first = sum(fleet.succeeded_once(build_id).attempt == 1 for build_id in ids)
    seen.say(f"6 of 6 succeeded, {first} in their first attempt")


@pytest.mark.fault("cancel in {phase}", "terminal within 2 s, no container left")
@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=pytest.mark.short if phase is Phase.EXPORT else ()) for phase in PHASES]
)
def test_a_build_is_cancelled(fleet, seen, phase):
    seconds = []

    def cancel(build):
        asked_at = time.monotonic()
        node = fleet.cluster.node(build.node)
        fleet.farm.cancel(build.id)
        wait(lambda: fleet.farm.get(build.id).state.final, "it does not end", 10)
        seconds[:] = [time.monotonic() - asked_at]
        # One that was published just before has ended too, and clears up.
        wait(lambda: not node.sandboxes(), lambda: f"left: {node.sandboxes()}", 10)
        seconds.append(time.monotonic() - asked_at)

    build, _ = fleet.in_phase(phase, then=cancel)
    ended, cleared = seconds
    seen.say(f"{fleet.farm.get(build.id).state} after {ended:.2f} s, no container after {cleared:.2f} s")
    assert cleared <= promised(2)


IMPATIENT = """
import sys, workers.attempt.attempt
workers.attempt.attempt._STUCK_SECONDS = 1.0
from workers.__main__ import main
sys.exit(main())
"""


@pytest.mark.fault(
    "engine hangs under a build past its deadline, and the slot is not freed (counted as stuck after 1 s, not 90)",
    "the build runs elsewhere; the node drains and restarts by itself",
)
def test_a_slot_is_stuck(fleet, seen):
    machine = fleet.only(1)
    machine.worker_ended(0) if not machine.works else machine.kill_worker()
    machine.start_worker(program=("-c", IMPATIENT), BUILDFARM_BUILD_SECONDS="5", BUILDFARM_DRAIN_SECONDS="8")
    wait_for_node(fleet.farm, machine, lambda node: node.accepting)
    build_id = fleet.submit("sleep 6")
    build = fleet.running(build_id, Phase.COMPILE)
    machine.freeze_engine(on=True)
    for other in fleet.cluster.machines[1:]:
        other.start_worker()
    hung_at = time.monotonic()
    started_elsewhere(fleet, build, hung_at)
    seen.say(f"again elsewhere after {time.monotonic() - hung_at:.1f} s")
    wait(lambda: "slots_stuck" in machine.log, "it does not give up", 60)
    machine.freeze_engine(on=False)
    wait_for_node(fleet.farm, machine, lambda node: node.accepting, 120)
    seen.say(f"the node took builds again after {time.monotonic() - hung_at:.1f} s")
    fleet.succeeded_once(build_id)
    fleet.restart(machine)
    fleet.nothing_left()
