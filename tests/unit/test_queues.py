"""Queues: who is served next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.queues import RETRY_QUEUE, RetryThenRoundRobin, make_celery, queue_names, shard_of
from buildfarm.settings import Settings


@given(st.text(min_size=1), st.integers(1, 256))
def test_a_tenant_always_has_the_same_shard_and_it_is_consumed(tenant, shards):
    assert shard_of(tenant, shards) == shard_of(tenant, shards)
    assert shard_of(tenant, shards) in queue_names(shards)


def test_lost_builds_come_first_and_shards_take_turns():
    order = RetryThenRoundRobin()
    order.update(queue_names(4))
    assert order.consume(5)[0] == RETRY_QUEUE
    first = order.consume(5)[1]
    order.rotate(first)
    assert order.consume(5)[0] == RETRY_QUEUE
    assert order.consume(5)[-1] == first
    order.rotate(RETRY_QUEUE)
    assert order.consume(5)[0] == RETRY_QUEUE


@given(st.lists(st.integers(0, 3), max_size=200))
def test_no_shard_waits_longer_than_all_others_took_once(choices):
    """Whichever shards have messages: one that does is served within as many turns as there are shards."""
    order = RetryThenRoundRobin()
    order.update(queue_names(4))
    waiting_for = 0
    for choice in choices:
        has_messages = {"build.0", f"build.{choice}"}
        served = next(queue for queue in order.consume(5) if queue in has_messages)
        order.rotate(served)
        waiting_for = 0 if served == "build.0" else waiting_for + 1
        assert waiting_for < 4


def test_workers_start_with_different_shards():
    def first_shard():
        order = RetryThenRoundRobin()
        order.update(queue_names(16))
        return order.consume(17)[1]

    assert len({first_shard() for _ in range(200)}) > 4


def test_two_farms_in_one_process_do_not_share_an_application():
    one, two = make_celery(Settings(namespace="one:")), make_celery(Settings(namespace="two:"))
    assert one.conf.broker_transport_options["global_keyprefix"] == "one:"
    assert two.conf.broker_transport_options["global_keyprefix"] == "two:"
    assert one.conf.accept_content == ["json"]
