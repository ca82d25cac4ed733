"""Which snapshots a node makes, keeps and removes; sandboxes and mounts are stood in for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buildfarm.errors import NodeError, NodeStopped, OutOfMemoryError
from buildfarm.oci.digest import Digest
from buildfarm.telemetry import logger
from workers.attempt.memory import NoMemoryError
from workers.attempt.signals import go_on
from workers.caches import Caches, Copies, Snapshots
from workers.caches import snapshots as snapshots_module
from workers.sandbox.container import Ended

LIMIT = 100
LONG_SECONDS = 60


@dataclass
class Workspace:
    place: Path
    disk_bytes: int
    host_owner: int = 10_000

    def freeze(self, end_processes):
        pass

    def written_whole(self):
        return nullcontext()


@dataclass
class Box:
    """A sandbox in which the unpacking ends with this code."""

    code: int
    check: object
    error: Exception | None = None

    def run(self, command, *, stdin=()):
        if self.error is not None:
            raise self.error
        for _ in stdin:
            self.check()
        return Ended(self.code)

    def kill(self):
        pass


@dataclass
class Pool:
    """A pool and its workspaces, each of so many bytes."""

    place: Path
    size_bytes: int = 30
    code: int = 0
    bounded: bool = True
    made: list = field(default_factory=list)
    error: Exception | None = None
    leave: Callable[[], object] = lambda: None
    full: bool = False

    @property
    def workspaces(self):
        return self

    @contextmanager
    def take(self, name, image, environment, *, check=go_on, for_build):
        if self.full:
            raise NoMemoryError
        self.made.append(name)
        place = self.place / f"{name}-{len(self.made)}"
        place.mkdir(parents=True)
        yield Workspace(place, self.size_bytes), Box(self.code, check, self.error)
        self.leave()

    def keep(self, workspace, place):
        place.parent.mkdir(exist_ok=True)
        workspace.place.rename(place)


@pytest.fixture
def pool(tmp_path):
    return Pool(tmp_path / "workspaces")


@pytest.fixture
def snapshots(pool, tmp_path):
    made = Snapshots(pool, tmp_path / "snapshots", LIMIT, lambda: "builder", logger())
    made.allow(True)
    return made


def digest(number):
    return Digest(f"sha256:{number:064x}")


def make(snapshots, *numbers, pieces=(b"archive",)):
    for number in numbers:
        snapshots.want(digest(number), lambda: pieces)
        snapshots.make()


def kept(snapshots):
    """Their numbers, from the folders that are there."""
    there = snapshots.directory.iterdir() if snapshots.directory.is_dir() else ()
    return sorted(int(path.name.partition("-")[0], 16) for path in there)


def test_what_finds_no_memory_is_made_later(snapshots, pool):
    pool.full = True
    make(snapshots, 1, 2)
    assert kept(snapshots) == []
    pool.full = False
    snapshots.make()
    assert kept(snapshots) == [2]
    snapshots.make()
    assert kept(snapshots) == [1, 2]


def test_as_many_are_kept_as_may_be_and_the_oldest_go(snapshots):
    make(snapshots, 1, 2, 3)
    assert (kept(snapshots), snapshots.size_bytes) == ([1, 2, 3], 90)
    make(snapshots, 4)
    assert (kept(snapshots), snapshots.size_bytes) == ([2, 3, 4], 90)


def test_one_that_is_too_large_is_not_kept_nor_made_again_and_takes_no_others_place(snapshots, pool):
    make(snapshots, 1)
    pool.size_bytes = LIMIT + 1
    make(snapshots, 2, 2)
    assert kept(snapshots) == [1]
    assert len(pool.made) == 2


def test_one_that_cannot_be_unpacked_is_not_tried_again(snapshots, pool):
    pool.code = 1
    make(snapshots, 1, 1)
    assert (kept(snapshots), len(pool.made)) == ([], 1)


def test_one_that_was_forgotten_is_made_again_under_another_name(snapshots):
    make(snapshots, 1)
    (before,) = snapshots.directory.iterdir()
    snapshots.forget(1)
    before.mkdir()  # as if it were still on its way out
    (before / "files").touch()
    make(snapshots, 1)
    assert kept(snapshots) == [1, 1]


def test_each_call_makes_one_and_the_newest_first(snapshots, pool):
    for number in (1, 2):
        snapshots.want(digest(number), lambda: ())
    snapshots.make()
    assert kept(snapshots) == [2]
    snapshots.make()
    snapshots.make()
    assert (kept(snapshots), len(pool.made)) == ([1, 2], 2)


def test_none_is_made_beside_a_build_that_unpacks_the_same_cache(snapshots, pool):
    snapshots.want(digest(1), lambda: ())
    assert snapshots.lay(digest(1), None) is None
    snapshots.make()
    assert pool.made == []
    make(snapshots, 1)
    assert kept(snapshots) == [1]


@contextmanager
def making(snapshots, goes_on):
    """For the block a snapshot is being made in another thread; it waits in the middle for ``goes_on``."""
    begun = threading.Event()

    def pieces():
        yield b"half"
        begun.set()
        assert goes_on.wait(LONG_SECONDS)

    snapshots.want(digest(1), pieces)
    maker = threading.Thread(target=snapshots.make)
    maker.start()
    assert begun.wait(LONG_SECONDS)
    try:
        yield
    finally:
        goes_on.set()
        maker.join()


@pytest.mark.parametrize(("code", "there"), [(0, [1]), (1, [])], ids=["it is made", "it cannot be made"])
def test_a_build_waits_for_one_that_is_being_made(snapshots, pool, code, there):
    pool.code = code
    goes_on = threading.Event()
    with making(snapshots, goes_on):
        snapshots.await_made(digest(1), goes_on.set)
        assert goes_on.is_set()
        assert kept(snapshots) == there
    snapshots.await_made(digest(1), lambda: pytest.fail("it waits for none"))


def test_a_build_that_waits_for_one_can_be_ended(snapshots):
    def end():
        raise NodeStopped("The build was cancelled.")

    with making(snapshots, threading.Event()), pytest.raises(NodeStopped):
        snapshots.await_made(digest(1), end)


def test_a_build_waits_only_so_long_for_one_that_does_not_end(snapshots, monkeypatch):
    monkeypatch.setattr(snapshots_module, "_AWAIT_SECONDS_MAX", 0.01)
    checks = []
    with making(snapshots, threading.Event()):
        snapshots.await_made(digest(1), lambda: checks.append(1))
        assert kept(snapshots) == []
        assert snapshots.lay(digest(1), None) is None
    assert len(checks) < 10


def test_a_build_does_not_wait_until_the_sandbox_is_gone(pool, snapshots):
    begun, goes_on = threading.Event(), threading.Event()
    pool.leave = lambda: (begun.set(), goes_on.wait(LONG_SECONDS))
    snapshots.want(digest(1), lambda: ())
    maker = threading.Thread(target=snapshots.make)
    maker.start()
    try:
        assert begun.wait(LONG_SECONDS)
        snapshots.await_made(digest(1), lambda: pytest.fail("it waits"))
    finally:
        goes_on.set()
        maker.join()


def test_one_whose_sandbox_ran_out_of_memory_is_told_and_not_tried_again(snapshots, pool):
    pool.error = OutOfMemoryError("The build needed more memory than its limit.")
    with pytest.raises(OutOfMemoryError):
        make(snapshots, 1)
    make(snapshots, 1)
    assert (kept(snapshots), len(pool.made)) == ([], 1)


def test_none_is_made_after_the_nodes_end(snapshots):
    def pieces():
        yield b"the first half"
        snapshots.end()
        yield b"the other"
        raise AssertionError("it went on")

    make(snapshots, 1, pieces=pieces())
    assert kept(snapshots) == []


def test_the_archives_error_leaves_none(snapshots):
    def pieces():
        yield b"half"
        raise NodeError("It is damaged.")

    with pytest.raises(NodeError):
        make(snapshots, 1, pieces=pieces())
    assert (kept(snapshots), snapshots.size_bytes) == ([], 0)
    make(snapshots, 1)
    assert kept(snapshots) == [1]


@pytest.mark.parametrize(
    ("seen", "limit", "bounded"),
    [(False, LIMIT, True), (True, 0, True), (True, LIMIT, False)],
    ids=["later mounts are not seen", "a limit of none", "no workspaces of their own"],
)
def test_a_node_that_can_have_none_makes_none(pool, tmp_path, seen, limit, bounded):
    pool.bounded = bounded
    snapshots = Snapshots(pool, tmp_path / "snapshots", limit, lambda: "builder", logger())
    snapshots.allow(seen)
    make(snapshots, 1)
    assert pool.made == []


def test_a_full_disk_takes_snapshots_first_and_copies_then(snapshots, tmp_path):
    copies = Copies(tmp_path / "copies", 1000)
    assert len(list(copies.keep(digest(9), [b"x" * 50]))) == 1
    caches = Caches(None, copies, snapshots, 1000, 1, logger())
    make(snapshots, 1, 2)
    assert caches.forget(20) == 30
    assert kept(snapshots) == [2]
    assert copies.read(digest(9)) is not None
    assert caches.forget(31) == 80
    assert kept(snapshots) == []
    assert copies.read(digest(9)) is None
