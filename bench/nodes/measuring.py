"""Measures a farm of so many nodes: one real worker that sweeps, and all others simulated."""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from bench.nodes.fleet import Fleet
from bench.nodes.own_redis import CLIENTS_MAX, OwnRedis, cpu_seconds
from buildfarm.farm import Farm
from buildfarm.store import Nodes
from testkit.cluster.shell import wait
from testkit.queue.farm import node, request

EACH_PROCESS = 1500  # nodes; a process may have 20,000 files
SETTLE_SECONDS = 5.0
IDLE_SECONDS = 12.0
SUBMITS, PER_SECOND = 400, 25.0
TAKEOVER_SECONDS_MAX = 15
LEADER = "leader"
_OTHERS = 100  # connections of the bench itself and of the real node


def measure(redis: OwnRedis, farm: Farm, like: Fleet, nodes: int) -> dict[str, Any]:
    """What so many idle nodes cost Redis, how long submits and starts take, and who sweeps after a death."""
    before = redis.counts()
    # Those of the connections that are left out for want of files would be idle.
    like = replace(like, connections=min(like.connections, (CLIENTS_MAX - _OTHERS) // nodes))
    with (
        node(farm, 2, BUILDFARM_NODE_ID=LEADER, BUILDFARM_LOG_LEVEL="error") as leader,
        fleets(like, nodes - 1) as processes,
    ):
        time.sleep(SETTLE_SECONDS)
        simulating, at = sum(map(cpu_seconds, processes)), time.monotonic()
        figures = {"nodes": nodes, **idle(redis, nodes, before)}
        figures["simulation_cores"] = (sum(map(cpu_seconds, processes)) - simulating) / (time.monotonic() - at)
        cpu, at = redis.cpu_seconds(), time.monotonic()
        with redis.slow_syncs() as syncs:
            figures |= load(farm, f"beside{nodes}")
        figures["slowest_sync_ms"] = max(syncs, default=0)
        more = redis.cpu_seconds() - cpu - figures["cores"] * (time.monotonic() - at)
        figures["cpu_milliseconds_per_build"] = more / SUBMITS * 1000
        leader.kill()
        figures["takeover_seconds"] = _takeover(farm)
    for gone in farm.nodes():
        Nodes(farm.database).leave(gone.id)
    return figures


@contextmanager
def fleets(like: Fleet, count: int) -> Iterator[list[int]]:
    """So many simulated nodes, for the length of the block; yields the ids of their processes.

    Their pops and builds are in processes of their own, which do little else: a real node's do not wait either while a
    thousand others send their heartbeats.
    """
    pops, others = ([each for each in like.recorded if each.is_wait == kind] for kind in (True, False))
    kinds = (replace(like, recorded=pops, connections=1),
             replace(like, recorded=others, connections=like.connections - 1))  # fmt: skip
    starts = range(0, count, EACH_PROCESS)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_process(replace(kind, numbers=range(start, min(start + EACH_PROCESS, count)))))
            for kind in kinds
            for start in starts
        ]
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != b"ready":
                raise SystemExit("the simulated nodes do not start")
        yield [process.pid for process in processes]


@contextmanager
def _process(fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.nodes.fleet"]
    environment = {**os.environ, "BUILDFARM_NAMESPACE": fleet.namespace}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    pickle.dump(fleet, process.stdin)
    process.stdin.close()
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def idle(redis: OwnRedis, nodes: int, before: dict[str, float]) -> dict[str, float]:
    """Redis's processor time, commands, and bytes written for each second of a farm without builds."""
    began, cpu, at = redis.counts(), redis.cpu_seconds(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - at
    cores, ended = (redis.cpu_seconds() - cpu) / seconds, redis.counts()
    return {
        "cores": cores,
        "cpu_microseconds_per_node": cores / nodes * 1e6,
        "commands_per_second": (ended["commands"] - began["commands"]) / seconds,
        "commands_per_node": (ended["commands"] - began["commands"]) / seconds / nodes,
        "written_bytes_per_node": (ended["aof_bytes"] - began["aof_bytes"]) / seconds / nodes,
        "connections": ended["connections"],
        "memory_bytes_per_node": (ended["memory"] - before["memory"]) / nodes,
    }


def load(farm: Farm, app: str) -> dict[str, float]:
    """Builds one after the other: milliseconds of a submit, and from submit to claim.

    Each is of an app of its own that no other farm's nodes have built: it would be offered to the node of that name.
    """
    submits, ids = list[float](), list[str]()
    for number in range(SUBMITS):
        at = time.monotonic()
        ids.append(farm.submit(request(f"t{number % 50}", f"{app}-{number}", cached_result=False)).id)
        submits.append(time.monotonic() - at)
        time.sleep(max(0.0, 1 / PER_SECOND - submits[-1]))
    builds = [farm.wait(build_id, timeout_seconds=60) for build_id in ids]
    starts = [(build.started_at or 0) - build.submitted_at for build in builds]
    return {**_spread("submit", submits), **_spread("start", starts)}


def _spread(name: str, seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": cuts[49] * 1000, f"{name}_p99_ms": cuts[98] * 1000}


def _takeover(farm: Farm) -> float:
    """After how long another node sweeps, once the one that did was killed."""
    client, key = farm.database.client, farm.database.key("sweeper")
    return wait(lambda: client.get(key) not in (LEADER, None), "nobody sweeps", TAKEOVER_SECONDS_MAX)
