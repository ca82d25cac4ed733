"""Disk and memory that a node spends on redeploys being fast: copies of caches, snapshots, and sandboxes that wait."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path

from bench.redeploy.apps import COPIED, SCIENCE, SMALL
from bench.redeploy.deploys import Bench, copy_of
from testkit.builds import Builds, NodeProcess, farm_with_node, wait_for

MB = 1_000_000
COPIES_BYTES = 600 * MB  # the three apps' caches have more
SNAPSHOT_BYTES = 900 * MB  # likewise, unpacked
SLACK_BYTES = 64 * MB  # a file system's own blocks
POOL = 2
SANDBOX_BYTES = 32 * MB
RELEASED_SECONDS = 30
MADE_SECONDS = 120
FULL_BYTES = 10**15  # more than any disk has


def measure_usage(bench: Bench) -> dict[str, object]:
    """What is there after redeploys, under a limit and on a disk that counts as full."""
    with farm_with_node(
        "usage",
        BUILDFARM_CACHE_COPIES_BYTES=str(COPIES_BYTES),
        BUILDFARM_SNAPSHOT_BYTES=str(SNAPSHOT_BYTES),
        BUILDFARM_WARM_SANDBOXES=str(POOL),
    ) as built:
        made = _redeploy(bench, built, "usage")
        node = _node(built)
        # No more than these: the last build's own is gone.
        wait_for(lambda: len(_memory(node)) == len(_workspaces(node)) == POOL, RELEASED_SECONDS, node.left_behind)
        snapshot_bytes, disk_bytes, pool_bytes, memory = (
            _disk_bytes(_snapshots(node)),
            _disk_bytes(_caches(node)),
            _disk_bytes(node.workspaces / node.id),
            _memory(node),
        )
    with farm_with_node("usage", BUILDFARM_DISK_CLEAN_BYTES=str(FULL_BYTES)) as built:
        released = _released(bench, built)
    bench.claims.add(
        f"disk: copies of caches within the setting of {COPIES_BYTES // MB} MB",
        f"{disk_bytes / MB:.0f} MB",
        0 < disk_bytes <= COPIES_BYTES + SLACK_BYTES,
    )
    bench.claims.add(
        f"disk: snapshots of caches within the setting of {SNAPSHOT_BYTES // MB} MB",
        f"{snapshot_bytes / MB:.0f} MB after {made} were made",
        made > 1 and 0 < snapshot_bytes <= SNAPSHOT_BYTES + SLACK_BYTES,
    )
    bench.claims.add(
        f"memory: {POOL} waiting sandboxes with at most {SANDBOX_BYTES // MB} MB each",
        f"{', '.join(f'{each / MB:.1f} MB' for each in memory)}; {pool_bytes / MB:.1f} MB of disk",
        len(memory) == POOL and max(memory) <= SANDBOX_BYTES,
    )
    bench.claims.add(
        f"disk: on a full disk, copies and snapshots of caches are gone within {RELEASED_SECONDS} s",
        f"{released:.1f} s",
        released <= RELEASED_SECONDS,
    )
    return {
        "snapshot_bytes": snapshot_bytes,
        "copies_bytes": disk_bytes,
        "pool_disk_bytes": pool_bytes,
        "pool_memory_bytes": memory,
        "released": released,
    }


def _redeploy(bench: Bench, built: Builds, place: str) -> int:
    """Twice each: a copy is made when the first build's cache is used. Returns how many snapshots were made."""
    made: set[Path] = set()
    for app in (SMALL, SCIENCE, COPIED):
        node = _node(built)
        before = set(_snapshots(node).glob("*"))
        source = copy_of(app, bench.folder / f"{place}-{app.name}")
        for _ in range(2):
            print(f"{place}: {app.name}", flush=True)
            source.deploy(built, app.name)
        wait_for(partial(_new_snapshots, node, before), MADE_SECONDS)
        made |= _new_snapshots(node, before)
    return len(made)


def _new_snapshots(node: NodeProcess, before: set[Path]) -> set[Path]:
    return set(_snapshots(node).glob("*")) - before


def _released(bench: Bench, built: Builds) -> float:
    """Seconds after the last build until the node has neither copies nor snapshots, which had begun to be made."""
    source = copy_of(SMALL, bench.folder / "full")
    for _ in range(2):
        source.deploy(built, "full")
    started = time.monotonic()
    caches, snapshots = _caches(_node(built)), _snapshots(_node(built))
    wait_for(
        lambda: _disk_bytes(caches) < MB and not any(snapshots.glob("*")),
        2 * RELEASED_SECONDS,
        lambda: list(caches.rglob("*"))[:5],
    )
    return time.monotonic() - started


def _node(built: Builds) -> NodeProcess:
    assert built.node is not None
    return built.node


def _caches(node: NodeProcess) -> Path:
    return node.workspaces / f"{node.id}.caches"


def _snapshots(node: NodeProcess) -> Path:
    return node.workspaces / f"{node.id}.snapshots"


def _workspaces(node: NodeProcess) -> list[Path]:
    return list((node.workspaces / node.id).iterdir())


def _disk_bytes(folder: Path) -> int:
    """Blocks of this file system; what is mounted below is in them already."""
    words = ["du", "--summarize", "--one-file-system", "--block-size=1", str(folder)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[0])


def _memory(node: NodeProcess) -> list[int]:
    """Of each sandbox of the node that is there now, without pause containers: what cannot be reclaimed."""
    ask = ["docker", "ps", "--quiet", "--no-trunc", "--filter", f"label=buildfarm.node={node.id}"]
    ask += ["--filter", "name=buildfarm-ready-"]
    there = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
    return [size for found in there if (size := _memory_of(found)) is not None]


def _memory_of(container: str) -> int | None:
    """None if it has just ended."""
    ask = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    pid = subprocess.run(ask, check=False, capture_output=True, text=True).stdout.strip()
    try:
        place = Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        return _counted(place)
    except OSError:
        if Path(f"/proc/{pid}").exists():
            raise
        return None


def _counted(place: str) -> int:
    """What a cgroup cannot have reclaimed. Raises OSError if it is gone."""
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
        if (file := Path(f"{root}{place}/memory.stat")).exists():
            counted = dict(line.split() for line in file.read_text().splitlines())
            return sum(int(counted[key]) for key in ("anon", "kernel", "rss") if key in counted)
    raise FileNotFoundError(f"no memory of {place} in /sys/fs/cgroup")
