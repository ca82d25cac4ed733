"""Redeploys of apps with more and more in their cache and in the folder that their buildpack makes of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from bench.measure import spread
from bench.redeploy.deploys import APP_FOLDERS, App, Bench, Source, copy_of

MOST = 1.5
SOURCE_FILES = 100
GROWN = App("grown", APP_FOLDERS / "grown", code="code.txt")


@dataclass(frozen=True)
class Size:
    """Of the cache, and again of what is made of it."""

    megabytes: int
    files: int

    @property
    def name(self) -> str:
        return f"{self.megabytes} MB in {self.files:,} files"


MEGABYTES = (Size(10, 1000), Size(100, 1000), Size(1000, 1000))
FILES = (Size(10, 1000), Size(10, 10_000), Size(10, 100_000))
SIZES = tuple(dict.fromkeys([*MEGABYTES, *FILES]))


def measure_growth(bench: Bench) -> dict[str, object]:
    """Each size once in each round. The source has as many files each time."""
    sources = {size: _source(size, bench.folder / f"grown-{number}") for number, size in enumerate(SIZES)}
    seconds: dict[Size, list[float]] = {size: [] for size in SIZES}
    for number in range(bench.rounds + 1):
        for size, source in sources.items():
            print(f"growth: {size.name}, round {number}", flush=True)
            found = source.deploy(bench.ours, source.folder.name).seconds
            if number:  # the first one makes what the others restore
                seconds[size].append(found)
    for what, series in (("megabytes", MEGABYTES), ("files", FILES)):
        medians = [statistics.median(seconds[size]) for size in series]
        ratio = max(medians) / min(medians)
        told = ", ".join(f"{size.name} {spread(seconds[size])}" for size in series)
        bench.claims.add(f"more {what} in cache and app: flat within {MOST}x", f"{ratio:.2f}x: {told}", ratio <= MOST)
    return {size.name: found for size, found in seconds.items()}


def _source(size: Size, folder: Path) -> Source:
    """The app with this size written into it, and with so many files."""
    source = copy_of(GROWN, folder)
    (folder / "size").write_text(f"{size.megabytes} {size.files}\n")
    (folder / "more").mkdir()
    for number in range(SOURCE_FILES - sum(path.is_file() for path in folder.rglob("*"))):
        (folder / "more" / f"{number}.txt").write_text(f"{number}\n")
    return source
