"""Redis, the registry, engines and links that fail under the builds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from buildfarm.model import Phase, State
from buildfarm.queue.names import queue_names
from testkit.builds import promised
from testkit.cluster import network
from testkit.cluster.cluster import wait_for_node
from testkit.cluster.proxy import slow_proxy
from testkit.cluster.sentinels import sentinels
from testkit.cluster.services import REDIS_ADDRESS, REDIS_PORT, REGISTRY_ADDRESS, REGISTRY_PORT, redis_url, registry_url
from testkit.cluster.shell import wait

OUTAGE_SECONDS = 60
FROZEN_SECONDS = 10
TWENTY = 20
MANY_SLOTS = {"BUILDFARM_SLOTS": "7"}

QUEUES = queue_names(["interactive", "bulk"], 16)


@pytest.mark.short
@pytest.mark.fault(
    "a build's message is lost with the worker that had just taken it (record and message are written in one step)",
    "starts within 15 s by the sweeper",
)
def test_a_message_is_lost(fleet, seen):
    machine = fleet.only(1)
    for _ in range(20):
        machine.signal_worker(signal.SIGSTOP)
        submitted_at = time.monotonic()
        build_id = fleet.submit()
        # Redis hands it to the worker that asked for it before it was stopped.
        if fleet.farm.records.message_count(QUEUES) == 0:
            break
        fleet.farm.cancel(build_id)
        machine.signal_worker(signal.SIGCONT)
    machine.kill_worker()
    assert fleet.farm.get(build_id).state is State.QUEUED
    for other in fleet.cluster.machines[1:]:
        other.start_worker()
    wait(lambda: fleet.farm.get(build_id).attempt == 1, "it did not start", 60)
    seconds = time.monotonic() - submitted_at
    seen.say(f"started after {seconds:.1f} s")
    assert seconds <= promised(15)
    fleet.succeeded_once(build_id)


@pytest.mark.fault(
    "the log's way to Redis is slow (0.2 s there and back) under a flood, an attached reader stalls, then cancel",
    "terminal within 5 s, no thread stuck",
)
def test_a_reader_stalls(fleet, seen):
    machine = fleet.only(1)
    with slow_proxy((network.GATEWAY, 6500), (REDIS_ADDRESS, REDIS_PORT), 0.1), ended_at_last(machine):
        fleet.restart(machine, BUILDFARM_REDIS_URL=redis_url(network.GATEWAY, 6500))
        threads = machine.threads()
        build_id = fleet.submit("while :; do head -c 100000 /dev/zero | tr '\\\\0' x | fold -w 100; done")
        fleet.running(build_id, Phase.COMPILE, seconds=120)
        environment = {**os.environ, "BUILDFARM_REDIS_URL": redis_url(), "BUILDFARM_REGISTRY_URL": registry_url()}
        command = [sys.executable, "-m", "buildfarm", "logs", "--follow", build_id]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reader:
            try:
                reader.stdout.read(1000)
                reader.send_signal(signal.SIGSTOP)
                time.sleep(2)  # for the flood to fill what there is to be filled
                asked_at = time.monotonic()
                fleet.farm.cancel(build_id)
                wait(lambda: fleet.farm.get(build_id).state.final, "it does not end", 60)
                seconds = time.monotonic() - asked_at
            finally:
                reader.kill()
        wait_for_node(fleet.farm, machine, lambda node: not node.builds, 30)
        wait(lambda: machine.threads() <= threads + 2, lambda: f"{machine.threads()} threads, {threads} before", 20)
        seen.say(
            f"{fleet.farm.get(build_id).state} after {seconds:.1f} s, {machine.threads()} threads ({threads} before)"
        )
        assert seconds <= promised(5)
        assert machine.left_behind() == []


@pytest.mark.fault(
    "node cut off from Redis, another one from the registry, for 60 s",
    "builds finish elsewhere, or there after the cut",
)
def test_nodes_are_cut_off(fleet, seen):
    first = fleet.submit("sleep 15", megabytes=5)
    second = fleet.submit("sleep 5", megabytes=5)
    without_redis = fleet.cluster.node(fleet.running(first, Phase.COMPILE).node)
    without_registry = fleet.cluster.node(fleet.running(second, Phase.COMPILE).node)
    cut_at = time.monotonic()
    cuts = [(without_redis, REDIS_ADDRESS, REDIS_PORT), (without_registry, REGISTRY_ADDRESS, REGISTRY_PORT)]
    for machine, address, port in cuts:
        network.drop(machine.number, address, port, on=True)
    try:
        wait(lambda: time.monotonic() - cut_at > OUTAGE_SECONDS, "", OUTAGE_SECONDS + 5)
    finally:
        for machine, address, port in cuts:
            network.drop(machine.number, address, port, on=False)
    ends = [fleet.succeeded_once(build_id, 120) for build_id in (first, second)]
    for end, machine, service in zip(ends, (without_redis, without_registry), ("Redis", "the registry"), strict=True):
        place = "there" if end.node == machine.id else "elsewhere"
        seen.say(f"cut off from {service}: finished {place}, attempt {end.attempt}")
    for machine, _, _ in cuts:
        wait_for_node(fleet.farm, machine, lambda node: node.accepting, 60)
    fleet.nothing_left()
    seen.say("both nodes take builds again")


@pytest.mark.short
@pytest.mark.fault("Redis killed -9 and started again, 200 builds queued and 4 running", "no accepted build is lost")
def test_redis_is_killed(fleet, seen):
    running = [fleet.submit("sleep 12") for _ in range(4)]
    for build_id in running:
        fleet.running(build_id, Phase.COMPILE)
    machines = fleet.cluster.machines
    ids = [fleet.submit(app=f"q{number}") for number in range(200)]
    fleet.redis.kill()
    time.sleep(3)
    fleet.redis.start()
    back_at = time.monotonic()
    wait(lambda: _answers(fleet), "Redis does not answer", 30)
    found = [fleet.farm.get(build_id).state for build_id in ids]
    seen.say(f"{len(found)} of 200 accepted builds are there")
    ends = [fleet.succeeded_once(build_id) for build_id in running]
    seen.say(f"4 of 4 running ones succeeded, {sum(end.attempt == 1 for end in ends)} in their first attempt")
    # All of them would take minutes: those that run first are built, the others are taken back.
    wait(lambda: _count(fleet, ids, State.SUCCEEDED) > 10, "the queue does not move", 120)
    for build_id in reversed(ids):
        if fleet.farm.get(build_id).state in (State.HELD, State.QUEUED):
            fleet.farm.cancel(build_id)
    ends = [fleet.ended(build_id).state for build_id in ids]
    built, taken_back = ends.count(State.SUCCEEDED), ends.count(State.CANCELLED)
    seen.say(f"{built} built, {taken_back} cancelled from the queue, {200 - built - taken_back} else")
    assert built + taken_back == 200
    for machine in machines:
        wait_for_node(fleet.farm, machine, lambda node: node.accepting, 60)
    seen.say(f"nobody helped, {time.monotonic() - back_at:.0f} s in all")


@pytest.mark.fault(
    "Redis fails over to its replica (Sentinel, master killed -9) under 20 running builds",
    "all succeed in their first attempt, once each; record, tag and image agree",
)
def test_redis_fails_over(fleet, seen):
    with sentinels() as group, fleet.workers(BUILDFARM_REDIS_URL=group.url, **MANY_SLOTS) as there:
        ids = running_twenty(there)
        group.wait_for_replica()
        seen.say(f"another master after {group.fail_over():.1f} s")
        all_succeed_at_first(there, seen, ids)


@pytest.mark.fault(
    "Redis stands still for 10 s (SIGSTOP) under 20 running builds",
    "all succeed in their first attempt, once each; record, tag and image agree",
)
def test_redis_stands_still(fleet, seen):
    with fleet.workers(**MANY_SLOTS) as there:
        ids = running_twenty(there)
        there.redis.freeze(on=True)
        time.sleep(FROZEN_SECONDS)
        there.redis.freeze(on=False)
        all_succeed_at_first(there, seen, ids)


@pytest.mark.fault(
    "a claim is lost in a failover: only the old master had it, and another node claims the same attempt",
    "one image; the first holder is refused at its next write",
)
def test_a_claim_is_lost(fleet, seen):
    first, second, third = fleet.cluster.machines
    variables = {"BUILDFARM_SLOTS": "1"}
    with sentinels() as group, fleet.workers(BUILDFARM_REDIS_URL=group.url, **variables) as there:
        for machine in (first, second, third):
            machine.kill_worker()
        build_id = there.submit("sleep 20")
        group.cut_replica_off()
        first.start_worker(BUILDFARM_REDIS_URL=group.url, **variables)
        lost = there.running(build_id, Phase.COMPILE)
        second.start_worker(BUILDFARM_REDIS_URL=group.url, **variables)
        wait_for_node(there.farm, second, lambda node: node.accepting)
        first.signal_worker(signal.SIGSTOP)  # it would find its claim gone, and claim anew, before the other does
        group.fail_over()
        again = there.running(build_id)
        first.signal_worker(signal.SIGCONT)
        goes_on_at = time.monotonic()
        wait(lambda: '"outcome": "lost"' in first.log, "the first holder goes on", 30)
        seen.say(
            f"refused {time.monotonic() - goes_on_at:.1f} s after it went on, while {again.node} had the same attempt"
        )
        assert (lost.node, lost.attempt) == (first.id, 1)
        assert (again.node, again.attempt) == (second.id, 1)
        end = there.succeeded_once(build_id)
        assert (end.node, end.attempt) == (second.id, 1)
        assert there.tag_is_at_image(end)
        seen.say(f"1 image, of {end.node}, attempt {end.attempt}")


@pytest.mark.fault("registry stopped for 60 s in mid-upload", "no failed build")
def test_the_registry_is_stopped(fleet, seen):
    build, killed_at = fleet.in_phase(Phase.EXPORT, then=lambda _: fleet.registry.kill())
    wait(lambda: time.monotonic() - killed_at > OUTAGE_SECONDS, "", OUTAGE_SECONDS + 5)
    fleet.registry.start()
    back_at = time.monotonic()
    end = fleet.succeeded_once(build.id)
    seen.say(f"succeeded {time.monotonic() - back_at:.1f} s after it was back, attempt {end.attempt}")
    fleet.nothing_left()


@pytest.mark.short
@pytest.mark.fault(
    "node's engine killed -9 under running builds, starts again", "they run again elsewhere or there; no leak"
)
def test_an_engine_is_restarted(fleet, seen):
    ids = [fleet.submit("sleep 4") for _ in range(6)]
    build = fleet.running(ids[0], Phase.COMPILE)
    machine = fleet.cluster.node(build.node)
    machine.kill_engine()
    ends = [fleet.succeeded_once(build_id) for build_id in ids]
    seen.say(f"6 of 6 succeeded, at most {max(end.attempt for end in ends)} attempts")
    wait_for_node(fleet.farm, machine, lambda node: node.accepting, 60)
    fleet.nothing_left()
    seen.say("nothing left")


def running_twenty(fleet):
    """Twenty builds that all compile now, and have some time to go."""
    ids = [fleet.submit("sleep 45") for _ in range(TWENTY)]
    for build_id in ids:
        fleet.running(build_id, Phase.COMPILE, seconds=120)
    compiling = [fleet.farm.get(build_id).phase for build_id in ids].count(Phase.COMPILE)
    assert compiling == TWENTY, f"{compiling} compile at once: the machine is too slow for this fault"
    return ids


def all_succeed_at_first(fleet, seen, ids):
    ends = [fleet.succeeded_once(build_id) for build_id in ids]
    at_first = sum(end.attempt == 1 for end in ends)
    agree = sum(fleet.tag_is_at_image(end) for end in ends)
    seen.say(f"{at_first} of {TWENTY} succeeded in their first attempt, 0 twice, {agree} tags at their image")
    assert (at_first, agree) == (TWENTY, TWENTY)


@contextmanager
def ended_at_last(machine):
    """Its worker knows Redis by an address that nobody answers at afterwards."""
    try:
        yield
    finally:
        machine.kill_worker()


def _answers(fleet) -> bool:
    try:
        fleet.farm.records.queued_count()
    except Exception:  # noqa: BLE001 - whatever a Redis that loads its file says
        return False
    return True


def _count(fleet, ids, state) -> int:
    return sum(fleet.farm.get(build_id).state is state for build_id in ids)
