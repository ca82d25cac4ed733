"""Many build nodes on one Redis: ``python -m bench.nodes [PART…]``; figures go to bench/results/nodes.json.

One idle node is recorded, and its connections and commands are multiplied. Needs a farm that is up.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from bench.nodes.measuring import measure
from bench.nodes.own_redis import own_redis
from bench.nodes.real import farm_on, record
from testkit.table import Claims

RESULTS = Path(__file__).parents[1] / "results" / "nodes.json"
FEW, MANY, MOST = 3, 1000, 3000
SIZES = ("small", "medium", "large")
PARTS = {
    "one class": "only=1",
    "three classes of three sizes": ",".join(f"{name}{size}=1" for name in "abc" for size in SIZES),
}


def main(names: list[str]) -> None:
    """Runs all parts, or those that are named; the others keep the figures of their last run."""
    figures = json.loads(RESULTS.read_text()) if names and RESULTS.exists() else {}
    for name in names or PARTS:
        figures[name] = part(PARTS[name])
    figures["machine"] = {"python": platform.python_version(), "processors": os.cpu_count()}
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    claims = Claims("Many build nodes on one Redis")
    for name in PARTS:
        if name in figures:
            _claim(claims, name, figures[name])
    if all(name in figures for name in PARTS):
        one, nine = (_of(figures[name], MANY)["cpu_microseconds_per_node"] for name in PARTS)
        figure = f"{nine / one:.2f}x; {nine:.0f} us a second against {one:.0f}"
        claims.add("nine kinds of builds: an idle node costs Redis at most 1.15x of what it costs with one", figure,
                   nine <= 1.15 * one)  # fmt: skip
    claims.finish()


def part(classes: str) -> dict[str, Any]:
    """A node recorded, and farms of several sizes."""
    with own_redis() as redis, farm_on(redis, classes) as farm:
        like = record(redis, farm)
        sent = {each.name: round(each.per_second, 2) for each in like.recorded}
        print(f"an idle node has {like.connections} connections, and sends a second: {sent}", flush=True)
        real = {"connections": like.connections, "commands_per_second": sent}
        farms = []
        for nodes in (FEW, MANY, MOST):
            farms.append(measure(redis, farm, like, nodes))
            print(json.dumps({name: round(value, 2) for name, value in farms[-1].items()}), flush=True)
    return {"real": real, "farms": farms}


def _of(figures: dict[str, Any], nodes: int) -> dict[str, float]:
    return next(farm for farm in figures["farms"] if farm["nodes"] == nodes)


def _claim(claims: Claims, name: str, figures: dict[str, Any]) -> None:
    few, many = _of(figures, FEW), _of(figures, MANY)
    sent, real = many["commands_per_node"], sum(figures["real"]["commands_per_second"].values())
    claims.add(f"{name}: simulated nodes send what a real one does, give or take 15 %",
               f"{sent:.2f} commands a second against {real:.2f}", abs(sent / real - 1) <= 0.15)  # fmt: skip
    claims.add(f"{name}: {MANY:,} idle nodes: at most 0.2 of a processor in Redis", f"{many['cores']:.3f}",
               many["cores"] <= 0.2)  # fmt: skip
    for what, told in (("submit", "submit"), ("start", "submit to claim")):
        before, after = few[f"{what}_p99_ms"], many[f"{what}_p99_ms"]
        claims.add(f"{name}: {told}, p99 beside {MANY:,} nodes: at most 2x of that beside {FEW}, and 50 ms more",
                   f"{after:.1f} ms against {before:.1f} ms", after <= min(2 * before, before + 50))  # fmt: skip
    after = many["takeover_seconds"]
    claims.add(f"{name}: one of {MANY:,} nodes sweeps 3 s after the sweeper's death", f"{after:.1f} s", after <= 3)


if __name__ == "__main__":
    main(sys.argv[1:])
