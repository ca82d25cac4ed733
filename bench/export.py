"""Export side by side with commit + push, a cached Dockerfile and buildah: ``python -m bench.export [ROUNDS]``.

Every round does each way once, in turn, on the same tree and registry; ratios are taken within a round. The figures go
to bench/results/export.json.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.floor import floor_seconds
from bench.measure import Cost, measure, spread
from bench.trees import KEPT, Tree, make_trees
from bench.ways import Buildah, CommitAndPush, Dockerfile, Ours, copy_tree
from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, State
from buildfarm.settings import read_settings
from localfarm.packages import ensure_packages
from testkit.registry.reading import read_builder
from testkit.second_engine import PROGRAMS, second_engine
from testkit.table import Claims
from workers.builder import Builder

RESULTS = Path(__file__).parent / "results" / "export.json"
BIG = ("python", "node", "front")
MEMORY_BYTES = 2_000_000_000

Costs = dict[str, dict[str, list[Cost]]]  # tree, then way


def main(rounds: int) -> None:
    claims = Claims("Export")
    ensure_packages({"buildah": "buildah", **PROGRAMS}, print)
    with open_farm(read_settings()) as farm, tempfile.TemporaryDirectory(dir=_kept()) as scratch:
        builder = read_builder(farm)
        trees = make_trees(farm.settings, builder.image)
        floors = {name: floor_seconds(farm, builder, tree) for name, tree in trees.items()}
        costs: Costs = {name: {} for name in trees}
        for number in range(rounds):
            for tree in trees.values():
                print(f"round {number + 1} of {rounds}: {tree.name}", flush=True)
                _round(farm, builder, tree, Path(scratch), costs[tree.name])
        _speed(claims, costs, floors)
        _redeploys(claims, costs)
        peak_kib = _memory(claims, Path(scratch))
        pulls = _pull_side(claims, farm, builder, trees["python"], Path(scratch))
    _write(trees, costs, floors, peak_kib, pulls)
    _print(trees, costs, floors)
    claims.finish()


def _round(farm: Farm, builder: Builder, tree: Tree, scratch: Path, costs: dict[str, list[Cost]]) -> None:
    """First deploy and one-line redeploy, each way once."""
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, scratch / "tree", ignore_errors=True)
        root = copy_tree(tree, scratch / "tree")
        # Bytes that no registry has seen, in what was made and in what came in.
        for made in (root / "node_modules", root / ".venv"):
            if made.is_dir():
                (made / "round.bin").write_bytes(os.urandom(4096))
        (root / tree.code).write_text(f"{(root / tree.code).read_text()}// {uuid.uuid4().hex}\n")
        ours = Ours(farm, builder, tree, root)
        undo.callback(ours.clean)
        commit = CommitAndPush(farm.registry, builder.image, root, undo)
        commit.prepare()
        undo.callback(commit.clean)
        dockerfile = Dockerfile(farm.registry, builder.image, tree, root)
        undo.callback(dockerfile.clean)
        buildah = Buildah(farm.registry, builder.image, root, KEPT / "buildah")
        buildah.prepare()
        undo.callback(buildah.clean)

        def note(way: str, cost: Cost) -> None:
            costs.setdefault(way, []).append(cost)

        os.sync()
        note("ours", measure(ours.export))
        note("commit", measure(commit.export))
        note("dockerfile", measure(dockerfile.export))
        note("buildah", measure(buildah.export))
        (root / tree.code).write_text((root / tree.code).read_text() + f"// {time.time_ns()}\n")
        commit.change(tree.code)
        buildah.change(tree.code)
        os.sync()
        note("ours, in place", measure(ours.export))
        note("commit again", measure(commit.export))
        note("dockerfile again", measure(dockerfile.export))
        note("buildah again", measure(buildah.export))
        # A real rebuild on another node: all inodes are new, and that node remembers nothing.
        again = scratch / "again"
        undo.callback(shutil.rmtree, again, ignore_errors=True)
        ours.root = copy_tree(Tree(tree.name, root, tree.source_names, tree.code, 0, 0), again)
        (ours.root / tree.code).write_text((ours.root / tree.code).read_text() + f"// {time.time_ns()}\n")
        ours.forget()
        os.sync()
        note("ours, rebuilt", measure(ours.export))


def _speed(claims: Claims, costs: Costs, floors: dict[str, float]) -> None:
    for name, ways in costs.items():
        ratios = [other.seconds / own.seconds for own, other in zip(ways["ours"], ways["commit"], strict=True)]
        least, wanted = (10, 12) if name in BIG else (4, 4)
        holds = min(ratios) >= least and statistics.median(ratios) >= wanted
        claims.add(
            f"{name}: first deploy at least {least}x faster than commit + push in every round, median {wanted}x",
            spread(ratios, "x"),
            holds,
        )
    for name in BIG:
        median = statistics.median(cost.seconds for cost in costs[name]["ours"])
        figure = f"{median:.2f} s of {floors[name]:.2f} s: {median / floors[name]:.2f}x"
        claims.add(f"{name}: within 1.5x of the floor", figure, median <= 1.5 * floors[name])
        shares = [
            own.own_cpu_seconds / other.engine_cpu_seconds
            for own, other in zip(costs[name]["ours"], costs[name]["commit"], strict=True)
        ]
        share = statistics.median(shares)
        claims.add(f"{name}: at most 1/8 of the engine's processor time", f"1/{1 / share:.1f}", share <= 1 / 8)


def _redeploys(claims: Claims, costs: Costs) -> None:
    for name in BIG:
        ways = costs[name]
        moved = statistics.median(
            again.sent_bytes / first.sent_bytes
            for first, again in zip(ways["ours"], ways["ours, rebuilt"], strict=True)
        )
        claims.add(f"{name}: a rebuilt code-only redeploy moves at most 0.3 %", f"{moved:.4%}", moved <= 0.003)
        ratios = [
            other.seconds / own.seconds for own, other in zip(ways["ours, rebuilt"], ways["commit again"], strict=True)
        ]
        claims.add(
            f"{name}: and is at least 10x faster than commit + push",
            spread(ratios, "x"),
            statistics.median(ratios) >= 10,
        )
        ratios = [
            other.seconds / own.seconds
            for own, other in zip(ways["ours, in place"], ways["dockerfile again"], strict=True)
        ]
        claims.add(
            f"{name}: in place at least 2x faster than a cached Dockerfile",
            spread(ratios, "x"),
            statistics.median(ratios) >= 2,
        )


def _memory(claims: Claims, scratch: Path) -> int:
    root = scratch / "memory" / "app"
    root.mkdir(parents=True)
    piece = os.urandom(1_000_000)
    for number in range(MEMORY_BYTES // len(piece)):
        folder = root / f"d{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(number.to_bytes(8, "big") + piece)
    done = subprocess.run([sys.executable, "-m", "bench.memory", str(root)], check=True, capture_output=True, text=True)
    peak_kib = int(done.stdout)
    shutil.rmtree(root.parent)
    claims.add(
        "peak memory for a 2 GB app at most 64 MiB above idle", f"{peak_kib / 1024:.0f} MiB", peak_kib <= 64 * 1024
    )
    return peak_kib


def _pull_side(claims: Claims, farm: Farm, builder: Builder, tree: Tree, scratch: Path) -> list[float]:
    """A second engine that has the builder fetches a first deploy and then redeploys; and builds the same images."""
    examples = Path(__file__).parents[1] / "examples"
    root = copy_tree(tree, scratch / "pull")
    ours = Ours(farm, builder, tree, root)
    seconds: list[float] = []
    moved: list[int] = []
    digests: dict[str, set[str]] = {}
    here = {name: _build(farm, examples / name, name) for name in ("python", "node")}
    with second_engine(farm) as second:
        ours.export()
        second.pull(ours.image)
        for _ in range(3):
            (root / tree.code).write_text((root / tree.code).read_text() + f"# {time.time_ns()}\n")
            ours.export()
            started = time.monotonic()
            moved.append(second.pull(ours.image))
            seconds.append(time.monotonic() - started)
        for name, first in here.items():
            digests[name] = {first, _build(farm, examples / name, name, node=second.id)}
    ours.clean()
    claims.add(
        "a second engine pulls a code-only redeploy in under 1 s", spread(seconds), statistics.median(seconds) < 1
    )
    claims.add("and moves only the source's layer", f"{moved} layers", set(moved) == {1})
    for name, found in digests.items():
        claims.add(f"{name}: the same digest from two builds on two engines", f"{len(found)} digest", len(found) == 1)
    return seconds


def _build(farm: Farm, directory: Path, name: str, *, node: str | None = None) -> str:
    """The digest of an app built from scratch by a given node; other nodes' builds do not count."""
    source, _ = farm.pack(directory, "bench")
    while True:
        submitted = farm.submit(BuildRequest(tenant="bench", app=f"same-{name}", source=source, cached_result=False))
        ended = [item for item in farm.follow(submitted.id) if isinstance(item, Build)][-1]
        if ended.state is not State.SUCCEEDED or ended.result is None:
            raise SystemExit(f"{name}: {ended.failure}")
        if node is None or ended.node == node:
            return ended.result.digest


def _write(trees: dict[str, Tree], costs: Costs, floors: dict[str, float], peak_kib: int, pulls: list[float]) -> None:
    content: dict[str, Any] = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
        "trees": {tree.name: {"entries": tree.files, "raw_bytes": tree.raw_bytes} for tree in trees.values()},
        "floor_seconds": floors,
        "peak_kib_of_2_gb": peak_kib,
        "second_engine_redeploy_pull_seconds": pulls,
        "costs": {
            name: {way: [asdict(cost) for cost in found] for way, found in ways.items()} for name, ways in costs.items()
        },
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def _print(trees: dict[str, Tree], costs: Costs, floors: dict[str, float]) -> None:
    table = Table("tree", "way", "seconds", "ours is", "processor", "sent", title="Median (from to)")
    for name, ways in costs.items():
        for way, found in ways.items():
            own = ways["ours" if "again" not in way and "," not in way else "ours, rebuilt"]
            ratio = statistics.median(other.seconds / mine.seconds for mine, other in zip(own, found, strict=True))
            cpu = statistics.median(cost.own_cpu_seconds + cost.engine_cpu_seconds for cost in found)
            sent = f"{found[0].sent_bytes:,}" if way.startswith("ours") else ""
            table.add_row(name, way, spread([cost.seconds for cost in found]), f"{ratio:.1f}x", f"{cpu:.1f} s", sent)
        table.add_row(
            name, "floor", f"{floors[name]:.2f} s", "", "", f"{trees[name].raw_bytes:,} raw", end_section=True
        )
    Console(width=130).print(table)


def _kept() -> Path:
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "buildah").mkdir(exist_ok=True)
    return KEPT


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
