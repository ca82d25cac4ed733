"""Keys in Redis that would grow for ever if nothing bounded them, each at its bound."""

from __future__ import annotations

import time
from functools import partial

import pytest

from buildfarm.access.webhooks import PLANNED_MAX, Delivery, Webhooks
from buildfarm.model import BuildRequest, State
from buildfarm.node import Node, NodeState
from buildfarm.store import Nodes
from buildfarm.store.keeping.usage import Usage
from testkit.archive import SOURCE, Life


@pytest.fixture
def life(farm):
    return Life(farm)


def test_an_order_to_drain_does_not_outlive_a_node_that_dies(farm):
    nodes, client, key = Nodes(farm.database), farm.database.client, farm.database.key
    for name in ("lives", "dies", "long-gone"):
        nodes.beat(Node(id=name, state=NodeState.READY, slots=1))
        farm.drain(name)
    client.delete(key("node", "dies"))  # its time is over
    client.zadd(key("nodes"), {"long-gone": time.time() - 100_000})
    nodes.mark_gone()
    assert client.smembers(key("draining")) == {"lives"}


def test_a_class_is_forgotten_a_month_after_it_left_the_settings(farm):
    client, key = farm.database.client, farm.database.key("classes")
    client.hset(key, mapping={"old": str(time.time() - 31 * 86_400), "gone": str(time.time() - 29 * 86_400)})
    farm.admission.fail_of_removed_classes(10)
    assert set(client.hkeys(key)) == {*farm.settings.classes, "gone"}


def test_nothing_is_left_of_a_tenant_whose_uploads_a_collection_has_counted(farm):
    usage, client = Usage(farm.database), farm.database.client
    usage.add("shop", "apps", 10)
    usage.add("other", "apps", 5)
    before = usage.uncorrected()
    usage.add("other", "apps", 7)
    usage.correct({}, before)
    assert client.hgetall(farm.database.key("usage")) == {"other:apps:new": "7"}
    assert usage.of("other")["apps"] == 7


def test_members_of_a_group_that_came_to_an_end_are_forgotten(farm, life):
    farm.events.join("webhooks", after="0")
    life.end()
    [taken, *_] = farm.events.take("webhooks", "dead", limit=1)
    farm.events.done("webhooks", farm.events.take("webhooks", "idle"))
    key = farm.database.key("events")

    def members():
        return {found["name"] for found in farm.database.client.xinfo_consumers(key, "webhooks")}

    farm.events.forget_members("webhooks", idle_seconds=60)
    assert members() == {"dead", "idle"}
    farm.events.forget_members("webhooks", idle_seconds=0)
    assert members() == {"dead"}, "it has an event, which another member may ask for"
    assert farm.events.abandoned("webhooks", "alive", idle_seconds=0) == [taken]
    farm.events.forget_members("webhooks", idle_seconds=0)
    assert members() == {"alive"}


def test_a_queue_that_no_node_reads_does_not_grow_with_cancelled_builds(farm):
    def submit(app):
        return farm.submit(BuildRequest(tenant="shop", app=app, source=SOURCE))

    waiting = [submit("first").id, submit("second").id]
    queue = farm.database.client.hget(farm.database.key("build", waiting[0]), "queue")
    length = partial(farm.database.client.llen, farm.database.key(queue))
    longest = 0
    for _ in range(1200):
        farm.cancel(submit("web").id)
        longest = max(longest, length())
    assert 1000 < longest <= 1010
    assert length() < 250, "it was written anew"
    messages = "".join(farm.database.client.lrange(farm.database.key(queue), 0, -1))
    assert all(build_id in messages for build_id in waiting)


def test_a_receiver_that_never_answers_has_a_bounded_number_of_deliveries(farm, life):
    webhooks, client = Webhooks(farm.database), farm.database.client
    due = farm.database.key("webhooks", "due", "shop")
    client.zadd(due, {f"{number:016x}": number for number in range(PLANNED_MAX)})
    assert webhooks.plan(Delivery("shop", "newest"), 0) == 1
    assert client.zcard(due) == PLANNED_MAX
    assert client.zscore(due, f"{0:016x}") is None
    assert client.zscore(due, "newest")
    assert webhooks.plan(Delivery("shop", "newest"), 5) == 0


def test_an_app_whose_last_archived_build_is_forgotten_leaves_no_tag_behind(life):
    life.end("gone")
    life.end("stays")
    for app in ("gone", "stays"):
        lease = life.begin(app)
        life.leases.publish(lease, f"apps/{life.tenant}/{app}", life.result(app))
        life.leases.succeed(lease, life.result(app))
    assert life.archive() == 4
    lease = life.begin("stays")
    assert life.keeper(kept=-10).remove_expired() == 4
    assert set(life.farm.database.client.hgetall(life.farm.database.key("tags"))) == {f"apps/{life.tenant}/stays"}
    life.leases.cancel(lease)
    assert life.farm.get(lease.build_id).state is State.CANCELLED
