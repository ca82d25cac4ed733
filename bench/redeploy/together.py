"""Many redeploys of some copies of the small app, two at once and without a pause."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

from bench.measure import spread
from bench.redeploy.apps import SMALL
from bench.redeploy.deploys import Bench, copy_of

AT_ONCE, COPIES, REDEPLOYS = 2, 8, 40
MOST = 1.5


def measure_together(bench: Bench) -> dict[str, object]:
    """Against one redeploy alone, measured right before."""
    sources = [copy_of(SMALL, bench.folder / f"together-{number}") for number in range(COPIES)]
    for source in sources:
        source.deploy(bench.ours, source.folder.name)
    alone = [sources[0].deploy(bench.ours, sources[0].folder.name).seconds for _ in range(bench.rounds)]

    def redeploy(number: int) -> float:
        source = sources[number % COPIES]
        return source.deploy(bench.ours, source.folder.name).seconds

    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = list(pool.map(redeploy, range(REDEPLOYS)))
    ratio = statistics.median(together) / statistics.median(alone)
    bench.claims.add(
        f"{REDEPLOYS} redeploys of {COPIES} apps, {AT_ONCE} at once: median at most {MOST}x of one alone",
        f"{ratio:.2f}x: {spread(together)} against {spread(alone)}",
        ratio <= MOST,
    )
    return {"alone": alone, "together": together}
