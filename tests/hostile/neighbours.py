"""A neighbour's build beside a hog on the same node: how much slower it is than alone."""

from __future__ import annotations

import statistics
import time

from buildfarm.model import Build, State
from testkit.table import Claims
from tests.hostile.arena import Arena

SLOWER_MAX = 1.5
ROUNDS = 3
HOGS = {
    "fork bomb": "bomb() { bomb | bomb & }; bomb; sleep 300",
    "memory hog": "while true; do python3 -c 'x = bytearray(10 ** 9)'; echo again; done",
    "disk filler": "while true; do cat /dev/zero >/tmp/full; rm /tmp/full; echo again; done",
    "log flood": "yes 'a line of a flood that nobody reads'",
}
# A build of processor time, of processes and of files, each as much as a small app's.
NEIGHBOUR = """
for n in 1 2 3 4 5; do echo $n; python3 -c 'sum(n * n for n in range(4_000_000))'; done
for n in $(seq 300); do /bin/true; done
mkdir made; for n in $(seq 2000); do echo $n >made/$n; done
head -c 20000000 /dev/urandom >made/big
"""


def measure(arena: Arena, claims: Claims) -> None:
    """One claim a hog: median of paired rounds, alone and beside it."""
    ratios: dict[str, list[float]] = {name: [] for name in HOGS}
    for number in range(ROUNDS):
        for name, hog in HOGS.items():
            alone = _seconds(arena, number)
            attacker = arena.script(f"echo START; {hog}", app="hog")
            _until_it_runs(arena, attacker)
            ratios[name].append(_seconds(arena, number) / alone)
            arena.farm.cancel(attacker.id)
            arena.ended(attacker)
    for name, found in ratios.items():
        median = statistics.median(found)
        figure = f"median {median:.2f} of {len(found)} ({min(found):.2f} to {max(found):.2f})"
        claims.add(f"a neighbour beside a {name} is at most {SLOWER_MAX} times slower", figure, median <= SLOWER_MAX)
    wrong = arena.is_as_before()
    claims.add("the node after all hogs builds and is clean", wrong or "it is", not wrong)


def _seconds(arena: Arena, number: int) -> float:
    started = time.monotonic()
    ended = arena.ended(arena.script(f"# {number} {time.time_ns()}\n{NEIGHBOUR}", app="neighbour"))
    assert ended.state is State.SUCCEEDED, ended.failure
    return time.monotonic() - started


def _until_it_runs(arena: Arena, build: Build) -> None:
    deadline = time.monotonic() + 60
    while "START" not in arena.text(build):
        assert time.monotonic() < deadline, "the hog did not start"
        time.sleep(0.05)
    time.sleep(1)
