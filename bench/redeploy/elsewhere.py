"""A redeploy on a node that has the builder and its tools, and has never built the app."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path

from bench.measure import spread
from bench.redeploy.apps import SCIENCE, SMALL
from bench.redeploy.deploys import Bench, Source, copy_of
from buildfarm.farm import Farm
from testkit.builds import Builds, build_node, farm_alone

MOST = 1.3
WARM_UP = "warm-up"

Seconds = dict[str, dict[str, list[float]]]  # app, then way


def measure_elsewhere(bench: Bench) -> dict[str, object]:
    """A new node in each round, in turn of this version and of the one before."""
    sources = [copy_of(app, bench.folder / f"elsewhere-{app.name}") for app in (SMALL, SCIENCE)]
    other = copy_of(SMALL, bench.folder / WARM_UP)
    seconds: Seconds = {source.app.name: {way: [] for way in bench.farms} for source in sources}
    with ExitStack() as stack:
        ways = {
            way: (stack.enter_context(farm_alone("elsewhere")), code)
            for way, code in (("ours", None), ("before", bench.code_before))
        }
        for farm, code in ways.values():
            _on_a_new_node(farm, code, [other, *sources])
        for number in range(bench.rounds):
            for way, (farm, code) in ways.items():
                print(f"on another node: {way}, round {number + 1}", flush=True)
                for name, found in _on_a_new_node(farm, code, [other, *sources]).items():
                    if name in seconds:
                        seconds[name][way].append(found)
    for name, by_way in seconds.items():
        _judge(bench, name, by_way)
    return {**seconds}


def _on_a_new_node(farm: Farm, code: Path | None, sources: list[Source]) -> dict[str, float]:
    """Seconds of each source's deploy, by the app's name; the first source brings the tools onto the node."""
    first, *others = sources
    with build_node(farm, code=code) as node:
        built = Builds(farm, node)
        first.deploy(built, WARM_UP)
        return {source.app.name: source.deploy(built, source.app.name).seconds for source in others}


def _judge(bench: Bench, name: str, seconds: dict[str, list[float]]) -> None:
    ratio = statistics.median(seconds["ours"]) / statistics.median(seconds["before"])
    bench.claims.add(
        f"{name}: on a node that has the builder but not the app, at most {MOST}x of the version before",
        f"{ratio:.2f}x: {spread(seconds['ours'])} against {spread(seconds['before'])}",
        ratio <= MOST,
    )
