"""What reproducible gzip costs: ``python -m bench.compression [ROUNDS]`` exports one tree with and without the flush.

Each round exports the tree once per way, and the order alternates. Both ways compress and send every layer. The figures
are medians of the ratios within a round. The tree is this interpreter's standard library and packages.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from isal import isal_zlib

from bench.measure import Cost, measure
from bench.trees import Tree
from bench.ways import Ours
from buildfarm.farm import Farm, open_farm
from buildfarm.oci import layer
from buildfarm.oci.tree import content_bytes, scan
from buildfarm.settings import read_settings
from testkit.registry.reading import read_builder
from testkit.table import Claims
from workers.builder import Builder

ROUNDS = 15
CPU_RATIO_MAX = 1.02
WALL_RATIO_MAX = 1.05

WAYS: dict[str, Callable[[], object]] = {
    "before": lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31),
    "after": layer._COMPRESSORS["gzip"],
}


def main(rounds: int) -> None:
    """Measure, and exit with 1 if a ratio is over its limit."""
    claims = Claims("Reproducible gzip")
    with open_farm(read_settings()) as farm, tempfile.TemporaryDirectory() as scratch:
        builder = read_builder(farm)
        tree = library_tree(Path(scratch))
        costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
        for way in WAYS:  # fills the page cache
            _export(farm, builder, tree, way)
        for number in range(rounds):
            for way in list(WAYS)[:: 1 if number % 2 else -1]:
                costs[way].append(_export(farm, builder, tree, way))
    more_bytes = costs["after"][0].sent_bytes - costs["before"][0].sent_bytes
    print(f"{tree.files:,} entries, {tree.raw_bytes:,} bytes; {more_bytes:+,} bytes sent")
    _claim(claims, "processor time", {way: _cpu(found) for way, found in costs.items()}, CPU_RATIO_MAX)
    _claim(claims, "wall time", {way: [cost.seconds for cost in found] for way, found in costs.items()}, WALL_RATIO_MAX)
    claims.finish()


def library_tree(scratch: Path) -> Tree:
    """This interpreter's standard library and packages, copied."""
    root = scratch / "app"
    skip = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages")
    shutil.copytree(sysconfig.get_path("stdlib"), root / "lib", symlinks=True, ignore=skip)
    shutil.copytree(sysconfig.get_path("platlib"), root / "packages", symlinks=True)
    found = scan(root).found
    return Tree("library", root, frozenset(), "", len(found), content_bytes(found))


def _export(farm: Farm, builder: Builder, tree: Tree, way: str) -> Cost:
    """One export to a new repository, by an exporter that has exported nothing before."""
    with mock.patch.dict(layer._COMPRESSORS, {"gzip": WAYS[way]}):
        ours = Ours(farm, builder, tree, tree.root)
        try:
            return measure(ours.export)
        finally:
            ours.clean()


def _cpu(costs: list[Cost]) -> list[float]:
    return [cost.own_cpu_seconds for cost in costs]


def _claim(claims: Claims, what: str, seconds: dict[str, list[float]], most: float) -> None:
    ratios = [after / before for before, after in zip(seconds["before"], seconds["after"], strict=True)]
    median = statistics.median(ratios)
    figure = (
        f"{median:.3f} ({min(ratios):.3f} to {max(ratios):.3f}) in {len(ratios)} rounds, "
        f"before {statistics.median(seconds['before']):.3f} s"
    )
    claims.add(f"the exporter takes at most {most} of the {what} it took without the flush", figure, median <= most)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
