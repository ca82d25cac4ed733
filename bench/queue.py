"""The queue's promises: ``python -m bench.queue [PART…]`` on a farm that is up; figures go to bench/results/queue.json.

Nodes are simulated (testkit/queue/node.py): the real Celery worker, store and queues, with a pipeline that sleeps.
Everything that is compared is done in turns, in one run, on the same Redis.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.queue_costs import commands_of_builds, memory_of_waiting, rates, submit_at_depth
from bench.redeploy.offers import offer_figures
from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildRequest, State
from testkit.queue.farm import fresh_farm, node, request
from testkit.table import Claims

RESULTS = Path(__file__).parent / "results" / "queue.json"
ROUNDS = 5
HEAVY, LIGHT, SLOTS = 1000, 50, 4
BEFORE = 200  # heavy builds that may start before the last light one does
CALLERS = 20
SEQUENCES = 500
DEPTHS = (1_000, 100_000)


def main(names: list[str]) -> None:
    """Runs all parts, or those that are named; the others keep the figures of their last run."""
    claims = Claims("The queue")
    parts: dict[str, Callable[[Claims], Any]] = {
        "race": race, "fairness": both_limits, "rates": _rates, "commands": _commands, "depth": _depth,
        "sequences": sequences, "offers": offers,
    }  # fmt: skip
    figures = json.loads(RESULTS.read_text()) if names and RESULTS.exists() else {}
    for name in names or parts:
        figures[name] = parts[name](claims)
    figures["machine"] = {"python": platform.python_version(), "processors": os.cpu_count()}
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    claims.finish()


def race(claims: Claims) -> dict[str, int]:
    """Callers that use one idempotency key at the same time."""
    with fresh_farm() as farm:
        return _race(claims, farm)


def _race(claims: Claims, farm: Farm) -> dict[str, int]:
    start, answers = threading.Barrier(CALLERS), list[str]()

    def call() -> None:
        with open_farm(farm.settings) as own:
            start.wait()
            answers.append(own.submit(request("race", idempotency_key="one")).id)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    builds = farm.recent(100)
    figure = f"{len(builds)} build, {len(set(answers))} id given to {len(answers)} callers"
    claims.add(
        f"{CALLERS} callers race with one idempotency key: 1 build", figure, len(builds) == len(set(answers)) == 1
    )
    return {"callers": len(answers), "builds": len(builds)}


def both_limits(claims: Claims) -> dict[str, Any]:
    """With the limits as they are, with none to speak of, and for apps that were built before, which are offered."""
    kinds = (("as set", None, False), ("high", HEAVY, False), ("again", HEAVY, True))
    return {name: fairness(claims, limit, again=again) for name, limit, again in kinds}


def fairness(claims: Claims, limit: int | None, *, again: bool) -> dict[str, Any]:
    """One tenant with a thousand builds waiting, and fifty who come later with one each."""
    positions, worst_of_round = list[int](), list[int]()
    for _ in range(ROUNDS):
        found = _positions(limit, again=again)
        positions += found
        worst_of_round.append(max(found))
    bound = LIGHT + 1 + SLOTS
    within = sum(position <= bound for position in positions) / len(positions)
    figure = (
        f"median {statistics.median(positions):.0f}, worst {max(positions)} (of rounds: {worst_of_round}), "
        f"{within:.1%} within {bound}"
    )
    limits = "limits as set" if limit is None else f"the tenant's limit at {limit}"
    limits += ", built before" if again else ""
    claims.add(
        f"{LIGHT} tenants with 1 build behind one with {HEAVY}, {SLOTS} slots, {limits}: each starts within "
        f"{bound} starts, give or take collisions",
        figure,
        statistics.median(positions) <= bound and within >= 0.95,
    )
    return {"limit": limit, "bound": bound, "positions": sorted(positions), "worst_of_round": worst_of_round}


def _positions(limit: int | None, *, again: bool) -> list[int]:
    """For each light tenant: how many builds started from its submit to its start, its own among them."""
    with fresh_farm() as farm, ExitStack() as nodes:
        prefix = uuid.uuid4().hex[:6]  # other names, other shards
        if limit is not None:
            farm.set_limits(f"{prefix}-heavy", running=limit)
        since = _built_before(farm, prefix, nodes) if again else "0"
        for number in range(HEAVY):
            farm.submit(_heavy(prefix, number))
        for _ in range(0 if again else 2):
            nodes.enter_context(node(farm, SLOTS // 2, seconds=0.05))
        _events_until(farm, lambda states: states.count(State.RUNNING) >= 20, since)
        light = {farm.submit(_light(prefix, number)).id for number in range(LIGHT)}
        done = _events_until(farm, lambda _: not light - _started(farm, light), since)
    starts, submitted, positions = 0, dict[str, int](), list[int]()
    for event in done:
        if event.state is State.QUEUED and event.build in light:
            submitted[event.build] = starts
        elif event.state is State.RUNNING:
            starts += 1
            if event.build in light:
                positions.append(starts - submitted[event.build])
    return positions


def _heavy(prefix: str, number: int) -> BuildRequest:
    return request(f"{prefix}-heavy", f"app-{number}", cached_result=False)


def _light(prefix: str, number: int) -> BuildRequest:
    return request(f"{prefix}-{number}", cached_result=False)


def _built_before(farm: Farm, prefix: str, nodes: ExitStack) -> str:
    """Builds the light tenants' apps and the first heavy ones, on nodes that stay; returns where events go on."""
    for _ in range(2):
        nodes.enter_context(node(farm, SLOTS // 2, seconds=0.05))
    wanted = [_light(prefix, number) for number in range(LIGHT)] + [_heavy(prefix, number) for number in range(BEFORE)]
    for build_id in [farm.submit(each).id for each in wanted]:
        farm.wait(build_id, timeout_seconds=60)
    return farm.events.read("0", limit=100_000)[-1].position


def _started(farm: Farm, ids: set[str]) -> set[str]:
    return {build_id for build_id in ids if farm.get(build_id).started_at}


def _events_until(farm: Farm, enough: Any, position: str) -> list[Any]:
    """All events after this position, as soon as there are enough."""
    events = list[Any]()
    deadline = time.monotonic() + 120
    while not enough([event.state for event in events]):
        if time.monotonic() > deadline:
            raise SystemExit("the simulated nodes do not start builds")
        events += (found := farm.events.read(position, wait_seconds=1))
        position = found[-1].position if found else position
    return events + farm.events.read(position)


def _rates(claims: Claims) -> dict[str, Any]:
    with fresh_farm(tenant_running_max=10_000) as farm, node(farm, SLOTS) as process:
        figures = rates(farm, process)
    for name, told in (
        ("submit", "submit: at most 2x Celery's send of a task that does nothing"),
        ("claim_to_finish", "claim to finish, a node's processor time: at most 2x a bare task"),
    ):
        ratios = figures[name]["ratios"]
        median = statistics.median(ratios)
        ours, bare = figures[name]["ours_ms"], figures[name]["bare_ms"]
        figure = f"{median:.2f}x ({min(ratios):.2f} to {max(ratios):.2f}); {ours:.2f} ms against {bare:.2f} ms"
        claims.add(told, figure, median <= 2)
    for name, told in (("delivery_too", "processor time"), ("delivery_too_wall", "time")):
        print(f"with Celery's delivery: {statistics.median(figures[name]['ratios']):.2f}x a bare task in {told}")
    return figures


def _commands(claims: Claims) -> dict[str, Any]:
    with fresh_farm() as farm, node(farm, SLOTS):
        figures = commands_of_builds(farm)
    figure = f"{figures['sent']:.1f} sent by clients ({figures['inside']:.0f} more inside scripts)"
    claims.add("Redis commands of a build, submit to done: at most 40", figure, figures["sent"] <= 40)
    return figures


def _depth(claims: Claims) -> dict[str, Any]:
    with fresh_farm() as shallow, fresh_farm() as deep:
        memory_of_waiting(shallow, DEPTHS[0])
        memory = memory_of_waiting(deep, DEPTHS[1])
        depth = submit_at_depth(shallow, deep)
    figure = f"{memory['bytes']:.0f} bytes, and {memory['request_bytes']:.0f} of the request itself"
    claims.add(f"memory of each of {DEPTHS[1]:,} waiting builds: at most 2,048 bytes", figure, memory["bytes"] <= 2048)
    for name, told in (("submit", "submit"), ("place", "position and expected wait")):
        ratio, quartiles = depth[name]["ratio"], depth[name]["quartiles_ms"]
        spreads = [" to ".join(f"{cut:.2f}" for cut in quartiles[which][::2]) for which in ("deep", "shallow")]
        figure = f"{ratio:.2f}x; quartiles {spreads[0]} ms against {spreads[1]} ms"
        claims.add(f"{told} at {DEPTHS[1]:,} waiting against {DEPTHS[0]:,}: at most 1.2x", figure, ratio <= 1.2)
    return {**depth, "memory": memory}


def offers(claims: Claims) -> dict[str, Any]:
    """Apps that are built again on two idle nodes, with offers and without, in turns; with a dead node; under load."""
    figures = offer_figures(ROUNDS)
    on, off = figures["on"], figures["off"]
    claims.add(
        "two idle nodes: an app is built again where it was built last, at least 95 %",
        f"{on['share']:.0%} of {on['builds']} ({off['share']:.0%} without offers)",
        on["share"] >= 0.95,
    )
    wait, without = on["median_ms"], off["median_ms"]
    claims.add(
        "from submit to claim: at most 10 ms more", f"{wait:.1f} ms against {without:.1f} ms", wait <= without + 10
    )
    dead = figures["dead"]
    claims.add(
        "its last node was killed -9 just before: it waits at most 0.1 s, give or take 50 ms",
        f"median {dead['median_ms']:.0f} ms, worst {dead['worst_ms']:.0f} ms of {dead['builds']}",
        dead["worst_ms"] <= 150,
    )
    ratio = statistics.median(figures["load"]["ratios"])
    figure = f"{ratio:.2f}x; {figures['load']['builds_per_second']:.0f} builds a second"
    claims.add("time of 500 builds again on busy nodes: at most 1.05x of that without offers", figure, ratio <= 1.05)
    return figures


def sequences(claims: Claims) -> dict[str, Any]:
    """The store's own machine test, longer than `make test` runs it."""
    started = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/integration/test_admission_machine.py",
    ]
    environment = {
        **os.environ,
        "BUILDFARM_TEST_EXAMPLES": str(SEQUENCES),
        "BUILDFARM_TESTS_NEED_SERVICES": "1",
        "PYTEST_TIMEOUT": "900",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    passed = done.returncode == 0
    if not passed:
        print(done.stdout[-4000:], flush=True)
    seconds = time.monotonic() - started
    claims.add(
        f"{SEQUENCES} random sequences of everything: limits hold, nothing is stuck, every build ends",
        f"{SEQUENCES if passed else 0} of {SEQUENCES} in {seconds:.0f} s",
        passed,
    )
    return {"sequences": SEQUENCES, "passed": passed, "seconds": seconds}


if __name__ == "__main__":
    main(sys.argv[1:])
