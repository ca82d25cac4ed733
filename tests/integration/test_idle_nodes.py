"""What an idle node asks of Redis: long waits that end when they must, and heartbeats that write only what is new."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from kombu import Consumer, Queue

from buildfarm.node import Node, NodeState
from buildfarm.queue.app import make_celery
from buildfarm.queue.waits import WAIT_SECONDS
from buildfarm.store import Nodes
from workers.upkeep.jobs import Duty

QUEUE = "build.interactive.retry"


@pytest.fixture
def waiting(farm):
    """A consumer whose blocking pop has been sent, and its channel."""
    with closing(make_celery(farm.settings)) as celery, celery.connection_for_read() as connection:
        channel = connection.channel()
        consumer = Consumer(channel, [Queue(QUEUE)], callbacks=[lambda body, message: message.ack()])
        consumer.consume()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
        assert channel._in_poll
        yield consumer, channel


def test_a_node_that_stops_does_not_wait_for_its_pop(waiting):
    _, channel = waiting
    began = time.monotonic()
    channel.close()
    assert time.monotonic() - began < WAIT_SECONDS - 1


def test_a_node_that_pauses_takes_no_message_with_the_pop_that_it_had_sent(farm, waiting):
    consumer, _ = waiting
    consumer.cancel()
    farm.database.client.lpush(farm.database.key(QUEUE), "message")
    assert farm.database.client.llen(farm.database.key(QUEUE)) == 1


def test_a_pop_that_may_not_be_ended_ends_by_itself(waiting):
    """As with a user of Redis who has no right to it."""
    _, channel = waiting
    channel._client_id = 2**40  # nobody's: Redis ends nothing
    channel.close()
    assert not channel._in_poll


def test_a_heartbeat_writes_what_has_changed(farm):
    nodes = Nodes(farm.database)
    node = Node(id="n", state=NodeState.READY, slots=2)
    nodes.beat(node, "interactive")
    assert _written(farm, lambda: nodes.beat(node, "interactive")) == ["seen_at"]
    busy = node.model_copy(update={"builds": ("b",)})
    assert _written(farm, lambda: nodes.beat(busy, "interactive")) == ["seen_at", "builds", "free"]
    [found] = nodes.all()
    assert found.builds == ("b",)
    assert farm.database.client.ttl(farm.database.key("node", "n")) > 80_000


def test_a_heartbeat_makes_a_node_that_was_gone_ready_again(farm):
    nodes = Nodes(farm.database)
    node = Node(id="n", state=NodeState.READY, slots=2)
    nodes.beat(node)
    farm.database.client.zadd(farm.database.key("nodes"), {"n": 1e9})
    farm.database.client.hset(farm.database.key("node", "n"), "state", "gone")
    nodes.beat(node)
    assert [found.state for found in nodes.all()] == [NodeState.READY]


def test_a_node_asks_for_a_duty_when_the_other_hold_may_have_ended(farm):
    clock = [0.0]
    nodes = Nodes(farm.database)
    first, second = (Duty(nodes, name, "sweeper", 60, clock=lambda: clock[0]) for name in ("a", "b"))
    assert first.is_mine()
    assert first.is_mine()
    assert not second.is_mine()
    farm.database.client.delete(farm.database.key("sweeper"))
    clock[0] = 59
    assert not second.is_mine()  # without asking: the hold would not have ended
    clock[0] = 60
    assert second.is_mine()
    assert second.held
    assert not first.is_mine()
    assert not first.held


def _written(farm, step):
    """The fields of the node's key that a step writes, as Redis tells it to those who listen."""
    with farm.database.client.monitor() as monitor:
        step()
        farm.database.client.echo(farm.settings.namespace)
        for told in monitor.listen():
            name, _, rest = told["command"].partition(" ")
            if told["client_type"] == "lua" and name == "HSET" and rest.startswith(farm.database.key("node", "n")):
                written = rest.split()[1::2]
            if told["command"] == f"ECHO {farm.settings.namespace}":
                return written
    return None
