"""Boxes that are kept ready: each is used once, dead or outdated ones never. A maker stands in for the engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeError
from workers.attempt.memory import NoMemoryError, SandboxMemory
from workers.sandbox.pool import STEPS_AHEAD, Makers, SandboxPool, Wanted, shares
from workers.sandbox.workspace import SLOTS_MAX


@dataclass(frozen=True)
class Made:
    name: str
    environment: dict = field(default_factory=dict)
    dead: list = field(default_factory=list)
    log: object = None
    check: object = None

    @property
    def container_id(self):
        return self.name

    def runs(self):
        return not self.dead


class Maker:
    """Where workspaces and sandboxes come from."""

    def __init__(self):
        self.there = []
        self.made = {}
        self.ahead = {}
        self.networks = {}
        self.broken = False
        self.kept = []  # names of sandboxes that the engine fails to remove
        self.removing = lambda: None

    @contextmanager
    def make(self, *names, steps_ahead=None, network=""):
        name = names[1] if len(names) > 1 else names[0]
        self.networks[name] = network
        if steps_ahead is not None:
            self.ahead[name] = steps_ahead
        if self.broken and len(names) > 1:
            raise NodeError("no engine")
        self.there.append(name)
        try:
            yield self.made.setdefault((name, len(names)), Made(name))
        finally:
            self.there.remove(name)
            self.removing()
            if steps_ahead is not None and name in self.kept:
                raise NodeError("no engine")


@pytest.fixture
def maker():
    return Maker()


def test_ready_ones_that_the_engine_no_longer_runs_are_removed_and_replaced(maker):
    pool = SandboxPool(maker, maker, 2)
    pool.fill("image")
    first, second = sorted(pool.names())
    maker.spec = SimpleNamespace(node_id="n")
    running = [{"Id": second, "Labels": {}}]
    maker.client = SimpleNamespace(api=SimpleNamespace(containers=lambda **asked: running if not asked["all"] else []))
    pool.remove_ended()
    assert pool.names() == {second}
    pool.fill("image")
    assert len(pool.names()) == 2 and first not in pool.names()


def test_without_ready_ones_a_box_is_made_for_the_build_and_goes_with_it(maker):
    pool = SandboxPool(maker, maker, 0)
    pool.fill("image")
    with pool.take("build-1", "image", {"A": "1"}) as (workspace, sandbox):
        assert (workspace.name, sandbox.name, sandbox.environment) == ("build-1", "build-1", {"A": "1"})
        assert pool.names() == {"build-1"}
    assert pool.due.is_set()
    assert pool.names() == {"build-1"}  # to the janitor it is in use until it is gone
    pool.remove_used()
    assert (maker.there, pool.names()) == ([], set())


def test_a_ready_box_is_taken_and_another_takes_its_place(maker):
    pool = SandboxPool(maker, maker, 1)
    pool.fill("image")
    [ready] = pool.names()
    with pool.take("build-1", "image", {}) as (_, sandbox):
        assert sandbox.name == ready
        pool.fill("image")
        assert len(pool.names()) == 2
    pool.remove_used()
    assert ready not in pool.names()
    pool.empty()
    assert (maker.there, pool.names()) == ([], set())


class Lender:
    """Pause containers: ``there`` are those that are lent or spare."""

    def __init__(self):
        self.there, self.spare, self.lost, self.asked = set(), [], set(), {}

    def has_spare(self, image):
        return bool(self.spare)

    @contextmanager
    def lend(self, image, *, only_spare=False):
        if only_spare and not self.spare:
            yield ""
            return
        name = self.spare.pop() if self.spare else f"pause-{image}-{len(self.there)}"
        self.there.add(name)
        yield f"container:{name}"
        self.spare.append(name)

    def prepare(self, image, most):
        self.asked[image] = most

    def names(self):
        return set(self.there)

    def works(self, network):
        return network not in self.lost

    def leave_only(self, images):
        for name in [name for name in self.spare if name.split("-")[1] not in images]:
            self.spare.remove(name)
            self.there.remove(name)


def test_only_ready_boxes_get_the_network_of_another_one_that_is_gone(maker):
    pool = SandboxPool(maker, maker, 1, pauses=Lender())
    with pool.take("build-1", "image", {}):
        assert maker.networks["build-1"] == ""  # one that is made while its build waits
    pool.fill("image")
    [pause] = pool.pauses.there
    assert pause in pool.names()  # the janitor leaves it alone
    with pool.take("build-2", "image", {}) as (_, sandbox):
        assert maker.networks[sandbox.name] == f"container:{pause}"
    pool.remove_used()
    pool.fill("image")
    [ready] = set(pool.names()) - {pause}
    assert maker.networks[ready] == f"container:{pause}"
    pool.fill("newer")
    assert {name.split("-")[1] for name in pool.pauses.there} == {"newer"}
    pool.empty()
    assert (maker.there, pool.names()) == ([], set())


def test_as_many_networks_wait_as_boxes_of_each_image(maker):
    pool = SandboxPool(maker, maker, 3, pauses=Lender())
    for image in ("older", "older", "newer"):
        with pool.take("build", image, {}):
            pass
    pool.fill("newer", ["older"])
    pool.prepare_networks()
    assert pool.pauses.asked == {"older": 2, "newer": 1}
    pool.empty()
    pool.pauses.asked.clear()
    pool.prepare_networks()
    assert pool.pauses.asked == {}, "none is made that the next `fill` removes again"


def test_a_used_box_goes_for_the_sake_of_its_network(maker):
    pool = SandboxPool(maker, maker, 1, pauses=Lender())
    pool.fill("image")
    [pause] = pool.pauses.there
    with pool.take("build-1", "image", {}) as (_, sandbox):
        first = sandbox.name
    assert first in maker.there
    with pool.take("build-2", "image", {}), pool.take("facts", "image", {}, for_build=False):
        assert first not in maker.there
        assert (maker.networks["build-2"], maker.networks["facts"]) == (f"container:{pause}", "")
    pool.fill("image")
    assert pool.pauses.there == {pause}
    assert "build-2" not in maker.there


def test_a_used_box_that_cannot_be_removed_is_no_fault_of_the_next_build(maker):
    pool = SandboxPool(maker, maker, 1, pauses=Lender())
    pool.fill("image")
    with pool.take("build-1", "image", {}) as (_, sandbox):
        maker.kept.append(sandbox.name)
    with pool.take("build-2", "image", {}) as (_, sandbox):
        assert sandbox.name == "build-2"


def test_a_ready_box_whose_pause_container_ended_is_not_used(maker):
    pool = SandboxPool(maker, maker, 1, pauses=Lender())
    pool.fill("image")
    [pause] = pool.pauses.there
    pool.pauses.lost.add(f"container:{pause}")
    with pool.take("build-1", "image", {}) as (_, sandbox):
        assert sandbox.name == "build-1"
    pool.remove_used()
    maker.spec = SimpleNamespace(node_id="n")
    pool.fill("image")
    [other] = set(pool.names()) - {pause}
    containers = [{"Id": other, "Labels": {}}]  # it runs; its network is gone
    maker.client = SimpleNamespace(api=SimpleNamespace(containers=lambda **_: containers))
    pool.remove_ended()
    assert set(pool.names()) == {pause}


def test_boxes_of_another_builder_are_not_used(maker):
    pool = SandboxPool(maker, maker, 2)
    pool.fill("old")
    with pool.take("build-1", "new", {}) as (_, sandbox):
        assert sandbox.name == "build-1"
    pool.remove_used()
    old = pool.names()
    pool.fill("new")
    assert len(pool.names()) == 2
    assert not old & pool.names()


def test_a_box_that_died_is_not_used(maker):
    pool = SandboxPool(maker, maker, 1)
    pool.fill("image")
    [ready] = pool.names()
    maker.made[ready, 4].dead.append(True)
    with pool.take("build-1", "image", {}) as (_, sandbox):
        assert sandbox.name == "build-1"
    pool.remove_used()
    assert maker.there == []


def test_only_ready_boxes_have_steps_that_were_started_ahead(maker):
    pool = SandboxPool(maker, maker, 1)
    pool.fill("image")
    with pool.take("build-1", "image", {}), pool.take("build-2", "image", {}):
        assert sorted(maker.ahead.values()) == [0, STEPS_AHEAD]


def test_builds_get_the_users_that_used_boxes_have(maker):
    """There are as many as slots: boxes that wait to be removed make room, and none waits for a build."""
    pool = SandboxPool(maker, maker, 4)
    for number in range(SLOTS_MAX // 2):
        with pool.take(f"build-{number}", "image", {}):
            pass
    pool.fill("image")
    assert not any("ready" in name for name in pool.names())
    with pool.take("build-last", "image", {}):
        assert pool.names() == {"build-last"}


def test_what_cannot_be_made_leaves_nothing(maker):
    pool = SandboxPool(maker, maker, 1)
    maker.broken = True
    with pytest.raises(NodeError):
        pool.fill("image")
    assert (maker.there, pool.names()) == ([], set())


def test_one_that_cannot_be_removed_keeps_no_other(maker):
    """Its own leftovers are the janitor's, which leaves alone what the pool still names."""
    pool = SandboxPool(maker, maker, 3)
    pool.fill("old")
    maker.kept = maker.there[:1]
    with pytest.raises(NodeError):
        pool.empty()
    assert not set(maker.kept) & pool.names()
    pool.remove_used()
    assert (pool.names(), maker.there) == (set(), [])


@pytest.mark.parametrize(
    ("demand", "room", "waiting"),
    [
        ("", 3, "sss"),
        ("ssss", 3, "sss"),
        ("ooooooo", 3, "sss"),  # of a builder that is no longer used
        ("nnnn", 2, "nn"),
        ("snsn", 2, "ns"),
        ("sssn", 2, "ss"),
        ("sssn", 4, "nsss"),
        ("snnn", 1, "n"),
        ("sn", 1, "s"),
        ("snm", 3, "mns"),
        ("snm", 0, ""),
    ],
)
def test_sandboxes_wait_for_the_builders_that_the_newest_builds_had(demand, room, waiting):
    assert "".join(sorted(shares(demand, "s", {"s", "n", "m"}, room).elements())) == waiting


def test_each_image_has_as_many_as_its_share_and_the_others_stay(maker):
    pool = SandboxPool(maker, maker, 2)
    pool.fill("s", ["s", "n"])
    before = pool.names()
    for number in range(3):
        with pool.take(f"build-{number}", "n", {}):
            pass
    with pool.take("build-4", "s", {}, for_build=False):  # it says nothing of the next builds
        pass
    pool.remove_used()
    pool.fill("s", ["s", "n"])
    images = sorted(ready.image for ready in pool._ready)
    assert images == ["n", "n"]
    assert not before & pool.names()
    with pool.take("facts", "n", {}, for_build=False):  # nor takes it what waits for them
        assert len(pool._ready) == 2
    with pool.take("build-5", "s", {}), pool.take("build-6", "s", {}), pool.take("build-7", "s", {}):
        pass
    pool.remove_used()
    kept = pool.names()
    pool.fill("s", ["s", "n"])
    assert sorted(ready.image for ready in pool._ready) == ["n", "s"]
    assert len(kept & pool.names()) == 1


def sized_pool(ready_max, limit_bytes):
    """Sandboxes of 2 bytes, and large ones of 6, within so many together."""
    small, large = Maker(), Maker()
    others = {"large": Makers(large, large, 6)}
    sizes = ("standard", "large")
    return SandboxPool(small, small, ready_max, others, SandboxMemory(limit_bytes), 2, sizes), small, large


def test_ready_sandboxes_make_room_for_a_build_of_another_size_and_memory_is_never_exceeded():
    pool, small, large = sized_pool(ready_max=3, limit_bytes=8)
    pool.fill("image")
    assert (len(small.there) // 2, pool.memory.used_bytes) == (3, 6)
    with replace(pool, size="large").take("build-1", "image", {}):
        assert large.there == ["build-1", "build-1"]
        assert (len(small.there) // 2, pool.memory.used_bytes) == (1, 8)
        pool.fill("image")
        assert pool.memory.used_bytes == 8  # what the build has is not filled again
    assert pool.memory.used_bytes == 8  # until it is gone
    pool.remove_used()
    assert pool.memory.used_bytes == 2


def test_ready_sandboxes_are_of_the_sizes_that_the_newest_builds_had():
    pool, _, large = sized_pool(ready_max=2, limit_bytes=100)
    for number in range(3):
        with replace(pool, size="large").take(f"build-{number}", "image", {}):
            pass
    pool.remove_used()
    pool.fill("image")
    assert sorted(ready.wanted.size for ready in pool._ready) == ["large", "large"]
    with replace(pool, size="large").take("build-9", "image", {}) as (_, sandbox):
        assert sandbox.name.startswith("buildfarm-ready-")
    assert large.there


def test_upkeep_gets_only_memory_that_none_uses():
    pool, _, _ = sized_pool(ready_max=0, limit_bytes=7)
    large, facts = replace(pool, size="large"), pool.take("facts", "image", {}, for_build=False)
    with large.take("build-1", "image", {}), pytest.raises(NodeError, match="in use"), facts:
        pass
    assert pool.memory.used_bytes == 6


def test_upkeep_takes_the_place_of_the_only_sandbox_that_a_node_has_memory_for():
    pool, _, _ = sized_pool(ready_max=1, limit_bytes=2)
    pool.fill("image")
    with pool.take("facts", "image", {}, for_build=False):
        assert (len(pool._ready), pool.memory.used_bytes) == (0, 2)


def test_upkeep_leaves_the_last_ready_sandbox_to_the_next_build():
    pool, _, _ = sized_pool(ready_max=2, limit_bytes=4)
    pool.fill("image")
    with pool.take("facts", "image", {}, for_build=False):
        assert (len(pool._ready), pool.memory.used_bytes) == (1, 4)
        with pytest.raises(NoMemoryError), pool.take("snapshot", "image", {}, for_build=False):
            pass
        assert pool.has_ready


def test_a_build_waits_for_upkeep_and_sees_that_it_was_cancelled():
    pool, _, _ = sized_pool(ready_max=0, limit_bytes=7)
    asked = []

    def check():
        asked.append(pool.memory.used_bytes)
        raise NodeError("cancelled")

    build = replace(pool, size="large").take("build-1", "image", {}, check=check)
    with pool.take("facts", "image", {}, for_build=False), pytest.raises(NodeError, match="cancelled"), build:
        pass
    assert asked == [2]


def test_an_image_build_counts_like_a_sandbox():
    pool, _, _ = sized_pool(ready_max=1, limit_bytes=3)
    pool.fill("image")
    with pool.reserve("image-1", lambda: None):
        assert (pool.has_ready, pool.memory.used_bytes) == (False, 2)
    assert pool.memory.used_bytes == 0


def test_a_build_that_waits_for_memory_gets_it_before_the_pool_fills_again():
    """Upkeep fills the pool while a large build removes what is ready: they must not go on for ever."""
    pool, small, _ = sized_pool(ready_max=1, limit_bytes=8)
    pool.fill("image")
    removed = []

    def remove():
        removed.append(True)
        assert len(removed) < 9, "the pool makes again what the build removes"
        pool.fill("image")

    with pool.take("build-1", "image", {}):
        pool.fill("image")
        small.removing = remove
        with replace(pool, size="large").take("build-2", "image", {}):
            assert pool.memory.used_bytes == 8
    small.removing = lambda: None
    pool.remove_used()
    pool.fill("image")
    assert pool.has_ready  # none waits any more


def test_a_build_that_waits_takes_a_sandbox_that_became_ready_meanwhile():
    pool, _, _ = sized_pool(ready_max=1, limit_bytes=2)
    pool.memory.enter("upkeep", 2)

    def check():
        pool.memory.leave("upkeep")
        made = pool._make("ready-1", Wanted("image"))
        pool.memory.enter(made.name, 2)
        pool._ready.append(made)

    with pool.take("build-1", "image", {}, check=check) as (_, sandbox):
        assert sandbox.name == "ready-1"
    assert pool.memory.used_bytes == 2


def test_a_sandbox_that_shares_a_builds_memory_is_made_although_none_is_free():
    """A build fetches private sources in a second one while its own waits idle."""
    pool, small, _ = sized_pool(ready_max=0, limit_bytes=2)
    fetch = pool.take("fetch-1", "image", {}, for_build=False, shares_memory=True)
    with pool.take("build-1", "image", {}), fetch as (_, sandbox):
        assert (sandbox.name, pool.memory.used_bytes) == ("fetch-1", 2)
    pool.remove_used()
    assert (pool.memory.used_bytes, small.there) == (0, [])


def test_memory_counts_until_a_sandbox_that_could_not_be_removed_is_gone():
    pool, small, _ = sized_pool(ready_max=0, limit_bytes=2)
    with pool.take("build-1", "image", {}):
        pass
    small.kept = ["build-1"]
    asked = []

    def check():
        asked.append(pool.memory.used_bytes)
        [left] = pool.memory.left_behind()
        pool.memory.leave(left)  # as the janitor does when it has removed it

    with pool.take("build-2", "image", {}, check=check):  # whose fault it is not
        assert (asked, pool.memory.used_bytes, pool.memory.left_behind()) == ([2], 2, set())
