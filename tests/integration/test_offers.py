"""Builds that another node took first are offered to the node that built their app last, and never for long."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from buildfarm.model import BuildRequest, BuildResult, State
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.queue.messages import check_message
from buildfarm.queue.names import node_queue
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases, Nodes, Unclaimed
from buildfarm.store.archive.archivist import Archivist
from buildfarm.telemetry import logger
from testkit.archive import FAILURE

DIGEST = Digest("sha256:" + "a" * 64)
SOURCE = ArtifactSource(repository="sources/t", digest=DIGEST)
CLASSES = ("interactive", "bulk")


def request(app="a", **fields):
    return BuildRequest(tenant="t", app=app, source=SOURCE, cached_result=False, **fields)


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


@pytest.fixture
def beat(farm):
    """``beat(node)`` is a heartbeat of a node that takes offers; ``serves=()`` is one of an older version."""

    def beat(node, *, state=NodeState.READY, slots=2, builds=(), serves=CLASSES):
        Nodes(farm.database).beat(Node(id=node, state=state, slots=slots, builds=builds), " ".join(serves))
        # However slow the machine, no test's heartbeat is three seconds old.
        farm.database.client.hset(farm.database.key("node", node), "seen_at", farm.database.now() + 3600)

    return beat


def built(farm, leases, node, app="a"):
    """A build of the app that this node made."""
    lease = leases.claim(farm.submit(request(app)).id, node)
    result = BuildResult(
        repository=f"apps/t/{app}", digest=DIGEST, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
        node=node, attempt=1,
    )  # fmt: skip
    leases.succeed(lease, result)


def offered(farm, node):
    return farm.database.client.lrange(farm.database.key(node_queue(node)), 0, -1)


def free(farm, node):
    return farm.database.client.hget(farm.database.key("node", node), "free")


def is_offered(leases, build, node="other"):
    return leases.claim(build.id, node, offer=True) == Unclaimed("offered", build.id)


def test_the_node_of_the_last_success_is_offered_the_build(farm, leases, beat):
    beat("first")
    beat("last")
    built(farm, leases, "first")
    built(farm, leases, "last")
    build = farm.submit(request())
    assert is_offered(leases, build)
    assert leases.waits(build.id)
    [message] = offered(farm, "last")
    check_message(json.loads(message))
    # A node that leaves with it returns it to where any node finds it.
    assert json.loads(message)["properties"]["delivery_info"]["routing_key"].startswith("build.interactive.")
    lease = leases.claim(build.id, "last", offer=True)
    assert isinstance(lease, Lease) and lease.is_last_node is True
    assert not leases.waits(build.id)
    assert leases.claim(build.id, "other") == Unclaimed(State.RUNNING)


def archived(farm, *, patience=0):
    """Archives the app's ended builds; whether none of its builds is in Redis now."""
    catalog = replace(farm.history.catalog, kept=0, tenant_kept=0)
    Archivist(catalog, farm.log_streams, farm.registry, 0, patience, 1e6, logger()).archive("t/a")
    return farm.database.client.zcard(farm.database.key("app", "t/a")) == 0


@pytest.mark.parametrize("ends", ["succeeds", "fails"])
def test_the_node_of_an_archived_success_is_offered_the_build(farm, leases, beat, ends):
    beat("last")
    built(farm, leases, "last")
    assert archived(farm)
    if ends == "fails":
        leases.fail(leases.claim(farm.submit(request()).id, "elsewhere"), FAILURE)
        assert archived(farm)
    build = farm.submit(request())
    assert is_offered(leases, build)
    lease = leases.claim(build.id, "last", offer=True)
    assert isinstance(lease, Lease) and lease.is_last_node is True
    seconds = farm.database.client.ttl(farm.database.key("last", "t/a"))
    assert 0 < seconds <= farm.history.catalog.record_seconds


def test_a_success_that_is_archived_late_does_not_hide_a_newer_one(farm, leases, beat):
    beat("last")
    built(farm, leases, "first")
    [late] = farm.database.client.zrange(farm.database.key("app", "t/a"), 0, -1)
    farm.database.client.hset(farm.database.key("build", late), "log_waits", "1 first")
    built(farm, leases, "last")
    assert not archived(farm, patience=3600)
    assert archived(farm)
    assert is_offered(leases, farm.submit(request()))


def test_what_is_not_taken_is_withdrawn_and_the_node_has_no_room_until_its_next_heartbeat(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    build = farm.submit(request())
    assert is_offered(leases, build)
    lease = leases.claim(build.id, "other", offer=True)
    assert isinstance(lease, Lease) and lease.is_last_node is False
    assert offered(farm, "last") == []
    assert free(farm, "last") == "0"
    leases.cancel(lease)
    second = farm.submit(request())
    assert isinstance(leases.claim(second.id, "other", offer=True), Lease)
    beat("last")
    third = farm.submit(request("b"))
    built_elsewhere = leases.claim(third.id, "other", offer=True)
    assert isinstance(built_elsewhere, Lease) and built_elsewhere.is_last_node is None


OBSTACLES = {
    "it is the one that asks": {"asks": "last"},
    "it is draining": {"state": NodeState.DRAINING},
    "it is closed": {"state": NodeState.CLOSED},
    "it is full": {"builds": ("x", "y")},
    "it serves another class": {"serves": ("bulk",)},
    "it is of an older version": {"serves": ()},
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_nothing_is_offered_to_a_node_that_would_not_take_it(farm, leases, beat, obstacle):
    beat("last")
    built(farm, leases, "last")
    asks = obstacle.get("asks", "other")
    beat("last", **{name: value for name, value in obstacle.items() if name != "asks"})
    assert isinstance(leases.claim(farm.submit(request()).id, asks, offer=True), Lease)
    assert offered(farm, "last") == []


def test_nothing_is_offered_to_a_node_that_gives_no_sign_of_life(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    farm.database.client.hset(farm.database.key("node", "last"), "seen_at", farm.database.now() - 3.1)
    assert isinstance(leases.claim(farm.submit(request()).id, "other", offer=True), Lease)


def test_nothing_is_offered_of_an_app_that_nobody_built(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    lease = leases.claim(farm.submit(request("b")).id, "other", offer=True)
    assert isinstance(lease, Lease) and lease.is_last_node is None


def test_free_slots_follow_claims_and_ends_between_heartbeats(farm, leases, beat):
    beat("last", slots=1)
    built(farm, leases, "last")
    assert free(farm, "last") == "1"
    running = leases.claim(farm.submit(request("b")).id, "last")
    assert free(farm, "last") == "0"
    build = farm.submit(request())
    first = leases.claim(build.id, "other", offer=True)
    assert isinstance(first, Lease)
    leases.cancel(first)
    leases.cancel(running)
    assert free(farm, "last") == "1"
    assert is_offered(leases, farm.submit(request()))


def test_nothing_is_offered_while_more_builds_wait_than_the_node_has_room_for(farm, leases, beat):
    beat("last", slots=2)
    built(farm, leases, "last")
    waiting = [farm.submit(request(app)) for app in ("b", "c")]
    first = farm.submit(request())
    lease = leases.claim(first.id, "other", offer=True)
    assert isinstance(lease, Lease)
    leases.cancel(lease)
    leases.claim(waiting[0].id, "other")
    assert is_offered(leases, farm.submit(request()))


def test_a_second_attempt_is_offered_to_nobody(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    build = farm.submit(request())
    farm.database.client.hset(farm.database.key("build", build.id), "attempt", 1)
    assert isinstance(leases.claim(build.id, "other", offer=True), Lease)


def test_a_build_is_offered_once_whoever_asks(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    build = farm.submit(request())
    assert is_offered(leases, build)
    assert isinstance(leases.claim(build.id, "third", offer=True), Lease)


def test_the_message_of_a_superseded_build_offers_the_newer_one(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    older, newer = farm.submit(request()), farm.submit(request())
    assert leases.claim(older.id, "other", offer=True) == Unclaimed("offered", newer.id)


def test_an_offered_build_counts_as_one_with_a_message_and_gets_one_if_both_nodes_die(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    build = farm.submit(request())
    queue = farm.database.client.hget(farm.database.key("build", build.id), "queue")
    farm.database.client.delete(farm.database.key(queue))  # a node took the message
    began, due = farm.database.now(), farm.database.key("retries")
    assert is_offered(leases, build)
    assert began + 1 <= farm.database.client.zscore(due, build.id) + 1e-5
    assert farm.database.client.zscore(due, build.id) <= farm.database.now() + 1
    farm.database.client.zadd(due, {build.id: farm.database.now() + 60})
    assert (leases.waiting_count(), leases.send_due(10)) == (1, 0)
    farm.database.client.zadd(due, {build.id: 1})
    assert leases.send_due(10) == 1
    retries = farm.database.key("build.interactive.retry")
    assert len(farm.database.client.lrange(retries, 0, -1)) == 1
    assert isinstance(leases.claim(build.id, "third", offer=True), Lease)


def test_what_nobody_read_goes_away(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    assert is_offered(leases, farm.submit(request()))
    assert 0 < farm.database.client.ttl(farm.database.key(node_queue("last"))) <= 60


def test_a_node_that_left_is_offered_nothing_and_its_heartbeat_does_not_come_back(farm, leases, beat):
    beat("last")
    built(farm, leases, "last")
    build = farm.submit(request())
    assert is_offered(leases, build)
    running = leases.claim(farm.submit(request("b")).id, "last")
    Nodes(farm.database).leave("last")
    leases.cancel(running)
    leases.claim(build.id, "other", offer=True)
    assert not farm.database.client.exists(farm.database.key("node", "last"))


def test_the_same_claim_sent_twice_takes_one_slot(farm, leases, beat):
    beat("n")
    build = farm.submit(request())
    for _ in range(2):
        assert isinstance(leases.claim(build.id, "n", "token", offer=True), Lease)
    assert free(farm, "n") == "1"
