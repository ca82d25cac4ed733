"""What searching an image for secrets costs: ``python -m bench.secret_scan [ROUNDS]``, paired with exports without any.

Each round exports one tree with no secret and with each number of secrets, and the order alternates. First as new
layers, to a new repository; then as known layers whose files are where they were, with new values. The figures are
medians of the differences within a round, per 100 MB of the tree, which is this interpreter's library and packages.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import tempfile
from pathlib import Path

from bench.compression import library_tree
from bench.measure import Cost, measure
from bench.trees import Tree
from bench.ways import Ours
from buildfarm.farm import Farm, open_farm
from buildfarm.settings import read_settings
from testkit.registry.reading import read_builder
from testkit.table import Claims
from workers.builder import Builder

ROUNDS = 9
COUNTS = (0, 1, 5, 20)
VALUE_BYTES = 30  # 40 characters, as tokens have
# Processor seconds per 100 MB: for each secret a quarter of what making a layer takes, and for reading a known one.
CPU_SECONDS_MAX = 0.1
READ_SECONDS_MAX = 0.3


def main(rounds: int) -> None:
    """Measure, and exit with 1 if a secret costs more than its limit."""
    claims = Claims("Searching images for secrets")
    costs: dict[tuple[str, int], list[Cost]] = {(way, count): [] for way in ("new", "known") for count in COUNTS}
    with open_farm(read_settings()) as farm, tempfile.TemporaryDirectory() as scratch:
        builder = read_builder(farm)
        tree = library_tree(Path(scratch))
        _export(farm, builder, tree, 0)  # fills the page cache
        for number in range(rounds):
            for count in COUNTS[:: 1 if number % 2 else -1]:
                for way, cost in zip(("new", "known"), _export(farm, builder, tree, count), strict=True):
                    costs[way, count].append(cost)
    print(f"{tree.files:,} entries, {tree.raw_bytes:,} bytes")
    for way, count in costs:
        _claim(claims, way, count, costs, tree.raw_bytes / 1e8)
    claims.finish()


def _export(farm: Farm, builder: Builder, tree: Tree, count: int) -> tuple[Cost, Cost]:
    """As new layers, and then as known ones with other secrets."""
    ours = Ours(farm, builder, tree, tree.root, secrets=_values(count))
    try:
        new = measure(ours.export)
        ours.secrets = _values(count)
        return new, measure(ours.export)
    finally:
        ours.clean()


def _values(count: int) -> dict[str, str]:
    return {f"SECRET_{number}": secrets.token_urlsafe(VALUE_BYTES) for number in range(count)}


def _claim(claims: Claims, way: str, count: int, costs: dict[tuple[str, int], list[Cost]], hundreds: float) -> None:
    without, with_secrets = costs[way, 0], costs[way, count]
    pairs = list(zip(without, with_secrets, strict=True))
    cpu = statistics.median(b.own_cpu_seconds - a.own_cpu_seconds for a, b in pairs) / hundreds
    wall = statistics.median(b.seconds - a.seconds for a, b in pairs) / hundreds
    base = statistics.median(cost.seconds for cost in with_secrets) / hundreds
    figure = f"{cpu:+.3f} s of processor time, {wall:+.3f} s, {base:.3f} s in all, per 100 MB"
    limit = CPU_SECONDS_MAX * max(count, 1) + (READ_SECONDS_MAX if way == "known" else 0)
    claims.add(f"{way} layers, {count} secrets", figure, cpu <= limit)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
