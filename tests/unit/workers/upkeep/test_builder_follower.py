"""Which builders a node has: those of channels and rollouts, pulled one at a time beside its builds."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from buildfarm.errors import RegistryError, StoreError
from buildfarm.telemetry import logger
from testkit.builds import wait_for
from workers.builder import Builders
from workers.upkeep.builder_follower import Follower


def builder(reference):
    return SimpleNamespace(reference=reference, image=f"host/{reference}")


class Engine:
    """Pulls when it is let, and notes what was asked for."""

    def __init__(self):
        self.asked = []
        self.gone = set()
        self.free = threading.Event()
        self.free.set()

    def warm(self, reference):
        self.asked.append(reference)
        self.free.wait(60)
        if reference in self.gone:
            raise RegistryError("It is not there.")
        return builder(reference)


@pytest.fixture
def engine():
    return Engine()


def follower(engine, **more):
    return Follower(Builders(builder("first")), engine.warm, logger(), **more)


def told(follower):
    found = json.loads(follower.builders.held.told())
    return found["channels"], sorted(found["has"])


def until_ready(follower, *arguments):
    """As heartbeats do it, until nothing is missing."""

    def ready():
        follower.follow(*arguments)
        return not follower.missing

    wait_for(ready, 30)


def test_with_one_channel_it_is_the_promoted_builder(engine):
    node = follower(engine)
    node.follow({"stable": ""})  # none was promoted: the settings name it
    node.follow({"stable": "first"})
    assert (engine.asked, node.missing, node.builders.current.reference) == ([], (), "first")
    engine.free.clear()
    node.follow({"stable": "second"})
    assert told(node) == ({"stable": "first"}, ["first"]), "builds go on with the old one"
    assert (node.missing, node.named()) == (("second",), {"first", "second"})
    engine.free.set()
    wait_for(lambda: node.builders.current.reference == "second", 30)  # at once, not at the next heartbeat
    assert told(node) == ({"stable": "second"}, ["second"])
    assert engine.asked == ["second"]


def test_every_channel_and_what_rollouts_chose_is_there_and_goes_when_it_is_no_longer_named(engine):
    node = follower(engine, moved=lambda: {"chosen"})
    until_ready(node, {"stable": "first", "next": "newer", "same": "first"}, 7)
    assert told(node) == ({"stable": "first", "next": "newer", "same": "first"}, ["chosen", "first", "newer"])
    assert sorted(engine.asked) == ["chosen", "newer"]
    node.follow({"stable": "first"}, 0)
    assert told(node) == ({"stable": "first"}, ["first"])
    assert node.named() == {"first"}
    assert node.builders.of("newer").reference == "newer", "a build that was claimed for it still gets it"
    assert node.builders.of("").reference == "first"


def test_a_channel_that_moves_stays_where_it_was_until_the_node_has_its_new_base(engine):
    node = follower(engine)
    until_ready(node, {"stable": "first", "next": "newer"})
    engine.free.clear()
    node.follow({"stable": "first", "next": "newest"})
    assert told(node)[0]["next"] == "newer"
    engine.free.set()
    until_ready(node, {"stable": "first", "next": "newest"})
    assert told(node) == ({"stable": "first", "next": "newest"}, ["first", "newest"])


def test_one_that_cannot_be_pulled_keeps_no_other_and_is_not_asked_for_all_the_time(engine):
    engine.gone.add("gone")
    node = follower(engine)
    wanted = {"stable": "first", "a": "gone", "b": "newer"}

    def ready():
        node.follow(wanted)
        return node.missing == ("gone",)

    wait_for(ready, 30)
    for _ in range(5):
        node.follow(wanted)
    assert sorted(engine.asked) == ["gone", "newer"]


def test_while_the_disk_lacks_room_only_the_stable_one_is_pulled(engine):
    node = follower(engine, has_room=lambda: False)
    wanted = {"stable": "second", "next": "newer"}

    def ready():
        node.follow(wanted)
        return node.missing == ("newer",)

    wait_for(ready, 30)
    node.follow(wanted)
    assert engine.asked == ["second"]


def test_a_new_stable_one_does_not_wait_for_another_channel_s(engine):
    engine.free.clear()
    node = follower(engine)
    node.follow({"stable": "first", "next": "newer", "last": "newest"})
    node.follow({"stable": "first", "next": "newer", "last": "newest"})
    wait_for(lambda: engine.asked, 30)
    assert engine.asked == ["newer"], "the others are pulled one at a time"
    for _ in range(2):
        node.follow({"stable": "second", "next": "newer", "last": "newest"})
    wait_for(lambda: len(engine.asked) > 1, 30)
    assert engine.asked == ["newer", "second"]
    engine.free.set()
    until_ready(node, {"stable": "second", "next": "newer", "last": "newest"})
    assert sorted(engine.asked) == ["newer", "newest", "second"]


def test_one_that_is_being_pulled_and_becomes_the_stable_one_is_not_pulled_twice(engine):
    engine.free.clear()
    node = follower(engine)
    node.follow({"stable": "first", "next": "newer"})
    node.follow({"stable": "newer", "next": "newer"})
    engine.free.set()
    until_ready(node, {"stable": "newer", "next": "newer"})
    assert engine.asked == ["newer"]


def test_before_it_is_told_what_is_wanted_it_names_nothing_and_no_clean_up_removes_any(engine):
    def away():
        raise StoreError("Redis is away.")

    node = follower(engine, moved=away)
    assert node.named() == frozenset()
    with pytest.raises(StoreError):
        node.follow({"stable": "first", "next": "newer"}, 1)  # what rollouts chose is not known yet
    assert node.named() == frozenset()
    node.moved = lambda: {"chosen"}
    node.follow({"stable": "first", "next": "newer"}, 1)
    assert node.named() == {"first", "newer", "chosen"}


def test_what_rollouts_chose_is_asked_for_only_if_there_is_something_and_not_at_each_heartbeat(engine):
    looks = []
    node = follower(engine, moved=lambda: looks.append(1) or {"first"})
    for moved in (0, 0, 3, 3, 3):
        node.follow({"stable": "first"}, moved)
    assert looks == [1]
