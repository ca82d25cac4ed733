"""Builds of several sizes on one node: it is never overcommitted, and none of its sizes waits for ever."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import SetupError
from buildfarm.queue.names import TASK
from buildfarm.queue.sizes import Size
from buildfarm.settings import Settings
from workers.attempt.capacity import Capacity, Turns
from workers.attempt.memory import SandboxMemory
from workers.queue.sizes import NodeSizes

GIB = 1024**3
SIZES = "large=memory:6GiB/cpus:4,tiny=memory:512MiB/cpus:0.5"
NAMES = ("standard", "large", "tiny")


def size(name, memory_bytes, cpus):
    return Size(name, memory_bytes, cpus, GIB, 60)


@st.composite
def capacities(draw):
    sizes = {
        name: size(name, draw(st.integers(1, 8)), draw(st.sampled_from((0.1, 0.5, 1.0, 2.5, 4.0)))) for name in NAMES
    }
    memory_bytes, cpus = draw(st.integers(8, 40)), draw(st.floats(4, 20))
    return Capacity(sizes, memory_bytes, cpus, draw(st.integers(1, 8)))


def use(capacity, running):
    counts = Counter(running)
    return (
        sum(capacity.sizes[name].memory_bytes * count for name, count in counts.items()),
        sum(capacity.sizes[name].cpus * count for name, count in counts.items()),
    )


@settings(max_examples=60, deadline=None)
@given(capacities(), st.data())
def test_whatever_comes_and_ends_a_node_is_never_overcommitted_and_each_size_gets_its_turn(capacity, data):
    """Each size that waits begins before more others have begun than there are slots, and those that then run end."""
    turns, running, now = Turns(capacity), [], 0.0
    begun_since = Counter()  # other builds that began while a size waited
    waiting = set()
    for _ in range(40):
        now += 1
        waiting |= data.draw(st.sets(st.sampled_from(NAMES)))
        fits = turns.fitting(Counter(running), waiting, now)
        assert all(capacity.fits(name, Counter(running)) for name in fits)
        come = sorted(fits & waiting)
        if come:
            taken = data.draw(st.sampled_from(come))
            turns.took(taken, Counter(running), waiting)
            running.append(taken)
            del begun_since[taken]
            begun_since.update(waiting - {taken})
            waiting -= data.draw(st.sets(st.just(taken)))
        elif running:
            running.pop(data.draw(st.integers(0, len(running) - 1)))
        memory_bytes, cpus = use(capacity, running)
        assert memory_bytes <= capacity.memory_bytes
        assert cpus <= capacity.cpus + 1e-6
        assert len(running) <= capacity.slots
        for name in waiting & set(NAMES):
            # Two other sizes may each have had room made for them before it.
            assert begun_since[name] <= 3 * (capacity.slots + len(NAMES)) or capacity.fits(name, Counter(running))


MIXED = Capacity({"standard": size("standard", 2, 1), "large": size("large", 6, 4)}, 8, 8, 4)


def test_a_large_build_gets_room_after_as_many_others_as_there_are_slots():
    turns, began = Turns(MIXED), 0
    while turns.fitting(Counter(standard=3), {"standard", "large"}, 0):
        turns.took("standard", Counter(standard=3), {"standard", "large"})  # one has ended, and another one begins
        began += 1
        assert began < 20
    # Now the node waits until the others have ended, and the large one comes first.
    assert began == 4
    assert turns.fitting(Counter(standard=2), {"standard", "large"}, 1) == frozenset()
    assert turns.fitting(Counter(standard=1), {"standard", "large"}, 2) == {"large"}
    turns.took("large", Counter(standard=1), {"standard", "large"})
    assert turns.fitting(Counter(large=1), {"standard", "large"}, 3) == {"standard"}


def test_room_that_nobody_takes_is_given_to_others_after_three_seconds():
    turns, waiting = Turns(MIXED), {"standard", "large"}
    for _ in range(4):
        turns.took("standard", Counter(standard=3), waiting)
    assert turns.fitting(Counter(), waiting, 10) == {"large"}
    assert turns.fitting(Counter(), waiting, 12.9) == {"large"}
    assert turns.fitting(Counter(), waiting, 13) == {"large", "standard"}


def test_a_size_of_which_nothing_waits_keeps_nobody():
    turns = Turns(MIXED)
    for _ in range(9):
        turns.took("standard", Counter(standard=3), {"standard"})
    assert turns.fitting(Counter(standard=1), {"standard"}, 1) == {"standard", "large"}


def test_a_node_of_the_settings_of_before_is_bounded_by_its_slots_alone():
    capacity = Capacity.of(Settings(slots=3))
    assert capacity.counts == {"standard": 3}
    assert not capacity.is_shared
    assert not capacity.is_counted
    assert NodeSizes(capacity).for_pops is None


def test_a_node_advertises_how_many_builds_of_each_size_it_runs():
    own = Settings(sizes=SIZES, slots=6, node_sizes="standard,large,tiny", node_memory_bytes=13 * GIB, node_cpus=9)
    assert Capacity.of(own).counts == {"standard": 4, "large": 2, "tiny": 6}
    assert Capacity.of(own).is_shared


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"node_sizes": "large"}, "no room for one build of it"),
        ({"node_sizes": "large", "node_memory_bytes": 8 * GIB, "node_cpus": 2}, "no room for one build of it"),
        ({"node_memory_bytes": 65 * GIB}, "the machine has"),
    ],
)
def test_a_node_that_cannot_serve_what_it_is_to_serve_does_not_start(changes, told):
    with pytest.raises(SetupError, match=told):
        NodeSizes.of(Settings(sizes=SIZES, slots=2, **changes), 64 * GIB)


def request(queue, name=TASK):
    return SimpleNamespace(name=name, delivery_info={"routing_key": queue})


def test_builds_count_by_the_queue_that_their_message_was_sent_to():
    here = [
        request("build.interactiveXlarge.7"),
        request("build.bulk.retry"),
        request("build.submit", "buildfarm.submit"),
    ]
    sizes = NodeSizes(MIXED, requests=lambda: here)
    assert sizes.running() == Counter(large=1, standard=1)
    assert set(sizes.fitting()) == set()
    here.pop(0)
    assert set(sizes.fitting()) == {"standard", "large"}


def test_offers_come_only_of_sizes_that_the_node_would_take_now():
    """Standard builds have passed a large one by: room for them stays empty until it has begun."""
    here = [request("build.interactive.1")] * 2
    sizes = NodeSizes(MIXED, frozenset({"standard", "large"}), requests=lambda: here)
    assert sizes.room() == ("standard",)
    for _ in range(4):
        sizes.took("standard")
    assert sizes.room() == ()
    here.pop()
    assert sizes.room() == ("large",)


def test_a_node_makes_no_room_for_a_size_whose_build_it_could_not_begin():
    """It lacked the build's base. Others of that size may come, but the node stays busy for a minute."""
    here, now = [request("build.interactive.1")] * 3, [0.0]
    sizes = NodeSizes(MIXED, frozenset({"standard", "large"}), requests=lambda: here, clock=lambda: now[0])
    sizes.lacked("large")
    for _ in range(9):
        assert "standard" in sizes.fitting()
        sizes.took("standard")
    now[0] = 60.0
    for _ in range(4):
        sizes.took("standard")
    assert set(sizes.fitting()) == set()


def test_a_build_without_room_does_not_begin_whatever_let_its_message_through():
    sizes = NodeSizes(MIXED, requests=list)
    with sizes.begun("large") as first, sizes.begun("standard") as second, sizes.begun("large") as third:
        assert (first, second, third) == (True, True, False)
        with sizes.begun("standard") as fourth, sizes.begun("") as unknown:
            assert (fourth, unknown) == (False, False)
    with sizes.begun("large") as again:
        assert again


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12))))
def test_the_memory_of_sandboxes_never_exceeds_the_limit(limit, steps):
    memory, held = SandboxMemory(limit), {}
    for name, wanted in steps:
        if name in held:
            memory.leave(str(name))
            del held[name]
        elif memory.enter(str(name), wanted):
            held[name] = wanted
        else:
            assert sum(held.values()) + wanted > limit
        assert memory.used_bytes == sum(held.values()) <= limit


def test_what_passed_a_size_by_counts_no_more_once_it_has_room_and_nothing_of_it_waits():
    """Another node took the large build; the next one comes much later."""
    turns = Turns(MIXED)
    for _ in range(4):
        turns.took("standard", Counter(standard=2), {"large"})
    assert turns.fitting(Counter(), set(), 100) == {"standard", "large"}
    assert turns.fitting(Counter(standard=2), {"large"}, 5000) == {"standard"}


def test_a_size_that_waits_keeps_its_turn_although_it_has_room_now_and_then():
    turns = Turns(MIXED)
    for moment in range(4):
        assert "large" in turns.fitting(Counter(standard=1), {"large"}, moment)
        turns.took("standard", Counter(standard=1), {"large"})
    assert turns.fitting(Counter(standard=2), {"large"}, 5) == set()


def test_what_a_heartbeat_says_uses_up_no_turn():
    """The node is closed for a minute, and a large build has waited for long."""
    here, now = [request("build.interactive.1")] * 3, [0.0]
    sizes = NodeSizes(MIXED, frozenset({"standard", "large"}), requests=lambda: here, clock=lambda: now[0])
    for _ in range(4):
        sizes.took("standard")
    here.clear()
    for _ in range(60):
        now[0] += 1
        assert sizes.room() == ("large",)
    assert set(sizes.fitting()) == {"large"}
