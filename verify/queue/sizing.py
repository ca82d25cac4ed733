"""The sizing formula of docs/operating.md, against the real queue with simulated builds."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack

from testkit.queue.farm import fresh_farm, node, request
from testkit.table import Claims

NODES, SLOTS = 2, 2
BUILD_SECONDS = 2.0
BUILDS = 60
QUANTILE = 1.65
TABLE = ((60, 60), (300, 60), (1000, 60), (1000, 180), (5000, 90))


def slots_needed(builds_per_hour: float, seconds: float) -> int:
    """Slots for so many builds an hour that hold one for so long each."""
    busy = builds_per_hour * seconds / 3600
    return math.ceil(busy + QUANTILE * math.sqrt(busy))


def nodes_needed(slots: int, slots_of_a_node: int) -> int:
    """One more than are needed: it may drain, or die."""
    return math.ceil(slots / slots_of_a_node) + 1


def waits(busy: float, slots: int) -> float:
    """Share of builds that wait at all: Erlang's C formula."""
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = busy * blocked / (number + busy * blocked)
    return blocked / (1 - busy / slots * (1 - blocked))


def run(claims: Claims) -> None:
    """What a farm of so many slots does in a second, by the formula and by the clock."""
    share = [waits(builds * seconds / 3600, slots_needed(builds, seconds)) for builds, seconds in TABLE]
    claims.add("sized so, at most one build in ten waits", f"{min(share):.1%} to {max(share):.1%}", max(share) <= 0.1)
    with fresh_farm(tenant_running_max=100) as farm, ExitStack() as stack:
        for _ in range(NODES):
            stack.enter_context(node(farm, SLOTS, BUILD_SECONDS))
        ids = [
            farm.submit(request(f"tenant-{number // 4}", f"app-{number}", cached_result=False)).id
            for number in range(BUILDS)
        ]
        deadline = time.monotonic() + 300
        for build_id in ids:
            farm.wait(build_id, timeout_seconds=max(1.0, deadline - time.monotonic()))
        ended = [farm.get(build_id) for build_id in ids]
        started = min(build.started_at or 0 for build in ended)
        took = max(build.finished_at or 0 for build in ended) - started
    slots = NODES * SLOTS
    promised = slots * 3600 / BUILD_SECONDS
    found = len(ended) * 3600 / took
    claims.add(
        f"{slots} slots do what the formula says, within 15 %",
        f"{promised:,.0f} builds an hour of {BUILD_SECONDS:g} s by the formula, {found:,.0f} by the clock"
        f" ({found / promised - 1:+.1%})",
        abs(found / promised - 1) <= 0.15,
    )


if __name__ == "__main__":
    for builds, seconds in TABLE:
        needed = slots_needed(builds, seconds)
        print(
            f"{builds:>6} builds an hour of {seconds:>3} s: {builds * seconds / 3600:6.1f} busy, {needed:>3} slots,"
            f" {nodes_needed(needed, 2)} nodes of 2, {nodes_needed(needed, 4)} of 4,"
            f" {waits(builds * seconds / 3600, needed):.1%} wait"
        )
    table = Claims("Sizing")
    run(table)
    table.finish()
