"""When a node fills its pool of sandboxes, and when it gives it up."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeError
from workers.builder import Builders
from workers.upkeep.pool_upkeep import PoolUpkeep, read_memory, ready_max

GIB = 1024**3


@dataclass
class Pool:
    """What is done with it."""

    taken: float = 100.0
    broken: bool = False
    has_ready: bool = False
    done: list = field(default_factory=list)
    due: threading.Event = field(default_factory=threading.Event)
    handed_over: threading.Event = field(default_factory=threading.Event)

    def taken_seconds(self, now):
        return self.taken

    def fill(self, image, others):
        assert list(others) == [image]
        if self.broken:
            raise NodeError("no engine")
        self.done.append(f"fill {image}")

    def prepare_networks(self):
        self.done.append("networks")

    def empty(self):
        self.done.append("empty")

    def remove_used(self):
        self.done.append("remove used")


def upkeep(pool, *, accepting=True, available=50):
    meminfo = f"MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  {available * 10} kB\n"
    image = SimpleNamespace(image="image", reference="builder@sha256:0")
    return PoolUpkeep(pool, Builders(image), lambda: accepting, lambda: meminfo)


def test_it_is_filled_at_once_when_a_build_has_ended():
    seconds = []
    for _ in range(3):  # the quickest counts: a busy machine may stand still
        pool = Pool(taken=0.0)
        pool.due.set()
        started = time.monotonic()
        upkeep(pool).tend()
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.4
    assert pool.done == ["fill image", "remove used"]
    assert not pool.due.is_set()


@pytest.mark.parametrize(
    ("handed_over", "has_ready", "paused"), [(True, True, 1), (False, True, 0), (True, False, 0), (False, False, 0)]
)
def test_a_build_that_was_handed_over_is_signed_before_its_sandbox_is_removed(handed_over, has_ready, paused):
    """Others that end, such as failed ones, do not wait; nor does anything while no sandbox is ready."""
    pool, seen = Pool(has_ready=has_ready), []
    pool.due.set()
    if handed_over:
        pool.handed_over.set()
    found = replace(upkeep(pool), pause=lambda seconds: seen.append((seconds, list(pool.done))))
    found.tend()
    pool.due.set()
    found.tend()  # of a build that was not handed over
    assert [done for _, done in seen] == [[]] * paused
    assert all(0 < seconds < 0.5 for seconds, _ in seen)
    assert "remove used" in pool.done


def test_what_a_build_used_goes_first_where_the_next_one_finds_another():
    pool = Pool(has_ready=True)
    pool.due.set()
    upkeep(pool).tend()
    assert pool.done == ["remove used", "fill image", "remove used"]


@pytest.mark.parametrize(
    ("taken", "done"), [(0.2, []), (1.5, ["fill image", "networks"])], ids=["just begun", "long ago"]
)
def test_a_build_that_has_just_begun_has_the_processors_for_itself(taken, done):
    pool = Pool(taken=taken)
    upkeep(pool).tend()
    assert pool.done == [*done, "remove used"]


@pytest.mark.parametrize(
    "given", [{"accepting": False}, {"available": 9}], ids=["no builds are taken", "memory is short"]
)
def test_it_is_given_up_while(given):
    pool = Pool()
    pool.due.set()
    upkeep(pool, **given).tend()
    assert pool.done == ["empty", "remove used"]


def test_what_builds_have_used_goes_even_where_nothing_can_be_made():
    pool = Pool(broken=True)
    pool.due.set()
    with pytest.raises(NodeError):
        upkeep(pool).tend()
    assert pool.done == ["remove used"]


@pytest.mark.parametrize(
    ("wanted", "slots", "memory", "ready"),
    [(-1, 2, 24 * GIB, 2), (-1, 16, 8 * GIB, 8), (-1, 2, GIB // 2, 1), (0, 2, 24 * GIB, 0), (5, 2, GIB, 5)],
)
def test_one_is_ready_for_each_slot_as_far_as_memory_goes_round(wanted, slots, memory, ready):
    assert ready_max(wanted, slots, memory) == ready


def test_the_memory_of_this_machine_is_found():
    found = Path("/proc/meminfo").read_text()
    assert 0 < read_memory(found, "MemAvailable") <= read_memory(found, "MemTotal")
