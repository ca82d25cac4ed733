"""A node's pause after it failed builds, its way out, and what its janitor forgets first."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeStopped
from buildfarm.settings import Settings
from buildfarm.store.nodes import Orders
from buildfarm.telemetry import logger
from buildfarm.telemetry.metrics import Metrics
from workers.attempt.capacity import Capacity
from workers.attempt.running import RunningAttempts
from workers.builder import Builders, Held
from workers.caches import Copies
from workers.queue.sizes import NodeSizes
from workers.tasks import Worker, retry_wait_seconds
from workers.upkeep.builder_follower import Follower
from workers.upkeep.drain import Drain
from workers.upkeep.health import Health
from workers.upkeep.rest import Rest

FIGURES = ("builder_ready", "builders", "builders_missing")


class Running:
    """Stands where an attempt's progress does."""

    def __init__(self):
        self.reasons = []
        self.looks = 0
        self.stuck = False

    def stop(self, reason):
        self.reasons.append(reason)

    def look(self):
        self.looks += 1


def test_each_failure_in_a_row_makes_the_rest_longer():
    rest, found = Rest(), []
    for now in (0, 10, 30, 80, 200):
        rest.begin(now)
        found.append(rest.seconds_left(now))
    assert found == [5, 10, 20, 40, 60]
    assert rest.seconds_left(300) == 0


def test_a_node_that_was_well_for_long_rests_shortly_again():
    rest = Rest()
    for now in range(5):
        rest.begin(now)
    assert rest.seconds_left(1000) == 0
    rest.begin(1001)
    assert rest.seconds_left(1001) == 5


def test_a_node_closes_as_soon_as_its_network_is_not_safe():
    trouble = [""]
    parts = dict.fromkeys(
        ("settings", "engine", "free_bytes", "attempts", "follower", "drain", "metrics", "nodes", "sizes")
    )
    health = Health(**parts, network=lambda: trouble[0], reason="")
    assert health.accepting()
    trouble[0] = "its network rules are not confirmed"
    # The gate does not wait for the next heartbeat.
    assert not health.accepting()
    assert health.obstacle() == trouble[0]


def test_a_message_that_came_through_the_gate_before_is_not_claimed_on_an_unsafe_network():
    claimed = []
    parts = dict.fromkeys(
        ("tools", "image_tools", "records", "logs", "attempts", "metrics", "tracer", "trouble", "rest")
    )
    leases = SimpleNamespace(claim=lambda build_id, node_id: claimed.append(build_id))
    settings = SimpleNamespace(node_id="n1")
    Worker(settings=settings, leases=leases, **parts, unsafe=lambda: "its network rules are not confirmed").build("a")
    assert claimed == []


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 2), (2, 8), (3, 32), (4, 60), (400, 60)])
def test_a_build_waits_longer_after_each_attempt(attempt, seconds):
    assert retry_wait_seconds(attempt) == seconds


def test_the_second_signal_hands_builds_back_at_once():
    attempts, running = RunningAttempts(Metrics()), Running()
    drain = Drain(attempts, 3600, logger(), lambda restart: None)
    with attempts.entered("a-1", "a", running):
        drain.signalled()
        assert drain.begun
        assert running.reasons == []
        drain.signalled()
    assert [type(reason) for reason in running.reasons] == [NodeStopped]


def test_builds_are_handed_back_when_the_grace_time_is_over():
    handed_back = threading.Event()
    attempts, running = RunningAttempts(Metrics()), Running()
    running.stop = lambda reason: handed_back.set()
    drain = Drain(attempts, 0.01, logger(), lambda restart: None)
    with attempts.entered("a-1", "a", running):
        drain.signalled()
        assert handed_back.wait(30)


def test_a_slot_that_does_not_let_go_ends_the_process(monkeypatch):
    left = []
    gone = threading.Event()
    attempts = RunningAttempts(Metrics())
    drain = Drain(attempts, 0.01, logger(), lambda restart: (left.append(restart), gone.set()))
    monkeypatch.setattr(os, "kill", lambda pid, number: drain.signalled() if number == signal.SIGTERM else None)
    with attempts.entered("a-1", "a", Running()):
        drain.ask(restart=True)
        assert gone.wait(30)
    assert left == [True]


def test_a_call_reaches_every_attempt_of_the_build():
    attempts, mine, other = RunningAttempts(Metrics()), Running(), Running()
    with attempts.entered("a-1", "a", mine), attempts.entered("b-1", "b", other):
        assert attempts.builds() == ("a", "b")
        attempts.look("a")
        other.stuck = True
        assert attempts.stuck()
    assert (mine.looks, other.looks) == (1, 0)
    assert not attempts.stuck()


def test_the_caches_used_longest_ago_are_forgotten_first(tmp_path):
    for number in range(4):
        copy = tmp_path / f"{number}"
        copy.write_bytes(bytes(10))
        os.utime(copy, (number, number))
    (tmp_path / "half-x").write_bytes(bytes(10))
    os.utime(tmp_path / "half-x", (9, 9))
    caches = Copies(tmp_path, 100)
    assert caches.forget(15) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "half-x"]
    caches.remove_partial()
    assert caches.forget(1000) == 20
    assert list(tmp_path.iterdir()) == []


def test_a_heartbeat_says_which_builders_are_there_and_is_answered_with_those_that_should_be():
    told = []
    first, other = (SimpleNamespace(reference=f"builder@{name}", digest=name) for name in ("sha256:1", "sha256:2"))
    builders = Builders(first)
    builders.hold(Held({"stable": first, "next": other}))
    follower = Follower(builders, None, logger(), moved=lambda: {"builder@sha256:2", "builder@sha256:3"})
    follower.has_room = lambda: False  # nothing is pulled
    orders = Orders(drain=False, builder="builder@sha256:1", channels={"next": "builder@sha256:2"}, moved=7)
    metrics = Metrics()
    health = Health(
        settings=Settings(node_id="n"),
        engine=SimpleNamespace(ping=lambda: None),
        free_bytes=lambda: 1 << 60,
        attempts=RunningAttempts(metrics),
        follower=follower,
        drain=SimpleNamespace(begun=False),
        metrics=metrics,
        nodes=SimpleNamespace(beat=lambda node, serves: told.append(node) or orders),
        sizes=NodeSizes(Capacity.of(Settings(node_id="n"))),
    )
    health.beat()
    [node] = told
    assert (node.builder, node.builders) == ("sha256:1", ("sha256:1", "sha256:2"))
    assert follower.missing == ("builder@sha256:3",)
    found = {name: metrics.registry.get_sample_value(f"buildfarm_{name}") for name in FIGURES}
    assert found == {"builder_ready": 0, "builders": 2, "builders_missing": 1}
