"""A node that loses power, and with it a part of what it kept of its apps' caches: no image is a wrong one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from testkit.cluster.cluster import wait_for_node
from testkit.cluster.shell import wait

# Deterministic, and large enough that a part of it is still on its way to the disk
SCRIPT = """
if [ -d /cache/made ]; then echo FOUND; else
  mkdir /cache/half; for n in $(seq 800); do seq $n 4000 >/cache/half/$n; done; mv /cache/half /cache/made
fi
rm -rf made; cp -a /cache/made made; cat made/* | sha256sum
"""


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def zero(file: Path) -> None:
    """As a file is whose blocks were never written: the size is right."""
    size = file.stat().st_size
    os.truncate(file, size // 2)
    os.truncate(file, size)


def empty(file: Path) -> None:
    os.truncate(file, 0)


DAMAGES = {"truncated": truncate, "zeros": zero, "empty": empty, "missing": Path.unlink}


@pytest.mark.fault(
    "node powered off after builds, and what it had not synced is lost", "the next build makes the same image"
)
def test_a_node_loses_power(fleet, seen):
    machine, digest = built_often(fleet)
    machine.lose_power()
    is_the_same_afterwards(fleet, seen, machine, digest)


@pytest.mark.fault(
    "worker killed after builds, with snapshots of caches mounted",
    "the next build makes the same image, and the old snapshots are gone",
)
@pytest.mark.short
def test_a_worker_is_killed(fleet, seen):
    machine, digest = built_often(fleet)
    wait(lambda: bool(mounted(machine)), f"{machine.id} has no snapshot mounted")
    machine.kill_worker()
    assert mounted(machine)
    is_the_same_afterwards(fleet, seen, machine, digest)


@pytest.mark.fault(
    "node powered off after builds, and every third file of its caches is {damage} afterwards",
    "the next build makes the same image",
)
@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=pytest.mark.short if name == "truncated" else ()) for name in DAMAGES]
)
def test_a_nodes_caches_are_damaged(fleet, seen, damage):
    machine, digest = built_often(fleet)
    machine.power_off()
    files = sorted(path for path in (machine.disk / "caches").rglob("*") if path.is_file() and not path.is_symlink())
    disks = [place / "disk.ext4" for place in snapshots(machine)]
    assert files and disks
    for file in (*files[::3], *disks):
        DAMAGES[damage](file)
    seen.say(f"damaged: {len(files[::3])} of {len(files)} files in caches, and all {len(disks)} snapshots")
    is_the_same_afterwards(fleet, seen, machine, digest)


@pytest.mark.fault(
    "node powered off while it saves and unpacks a cache, and what it had not synced is lost",
    "the next build makes the same image",
)
def test_a_node_loses_power_early(fleet, seen):
    machine, digest = built_often(fleet, builds=1)
    machine.lose_power()
    is_the_same_afterwards(fleet, seen, machine, digest)


def snapshots(machine):
    """Where they are on its disk."""
    return sorted((machine.disk / "workspaces" / f"{machine.id}.snapshots").glob("*"))


def mounted(machine):
    """Those that are mounted, as the node sees it."""
    words = [*machine.inside(), "cat", "/proc/self/mounts"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if f"/{machine.id}.snapshots/" in line.split()[1]]


def built_often(fleet, builds=3):
    """The one node that runs, and the digest of an app's image; its cache is on the node if it was built often."""
    machine = fleet.only(1)
    digests = {fleet.succeeded_once(fleet.submit(SCRIPT, app="cached")).result.digest for _ in range(builds)}
    assert len(digests) == 1
    if builds > 1:
        wait(lambda: bool(snapshots(machine)), f"{machine.id} has no snapshot")
    return machine, digests.pop()


def is_the_same_afterwards(fleet, seen, machine, digest):
    before = snapshots(machine)
    if not machine.is_on:
        machine.boot()
    machine.start_worker()
    wait_for_node(fleet.farm, machine, lambda node: node.accepting)
    found = []
    for _ in range(2):
        build = fleet.succeeded_once(fleet.submit(SCRIPT, app="cached"))
        assert build.node == machine.id
        assert build.result.digest == digest
        found.append("there" if any("FOUND" in line for line in fleet.log(build.id)) else "gone")

    def cleared():
        """Its worker, which started anew, has taken away what it did not make itself."""
        return not set(before) & set(snapshots(machine)) and len(mounted(machine)) <= len(snapshots(machine))

    wait(cleared, lambda: f"left: {before} of {snapshots(machine)}, {mounted(machine)}", 30)
    seen.say(f"2 more images are the same one; the cache was {', then '.join(found)}")
    # The last build's own cache may still be on its way.
    wait(lambda: not list((machine.disk / "caches").glob("half-*")), "half a cache is left", 30)
    fleet.nothing_left()
