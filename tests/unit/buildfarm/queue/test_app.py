"""Queues: who is served next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.queue.app import FairOrder, make_celery
from buildfarm.queue.names import SUBMIT_QUEUE, class_of, queue_names, shard_of
from buildfarm.settings import Settings

WEIGHTS = {"interactive": 4, "bulk": 1}


def order_of(shards, weights=WEIGHTS):
    order = FairOrder(weights)
    order.update(queue_names(weights, shards))
    return order


def asked(order):
    return order.consume(1000)


def serve(order, has_messages):
    served = next(queue for queue in asked(order) if queue in has_messages)
    return order.rotate(served)


@given(st.text(min_size=1), st.sampled_from(sorted(WEIGHTS)), st.integers(1, 256))
def test_a_tenant_always_has_the_same_shard_and_it_is_consumed(tenant, build_class, shards):
    queue = shard_of(tenant, build_class, shards)
    assert queue == shard_of(tenant, build_class, shards)
    assert queue in queue_names(WEIGHTS, shards)
    assert class_of(queue) == build_class


def test_lost_builds_and_requests_come_first_and_shards_take_turns():
    order = order_of(4)
    first = ["build.interactive.retry", "build.bulk.retry", SUBMIT_QUEUE]
    assert asked(order)[:3] == first
    served = order.rotate(asked(order)[3])
    assert asked(order)[:3] == first
    assert [queue for queue in asked(order) if queue.startswith("build.interactive")][-1] == served
    for queue in first:
        order.rotate(queue)
        assert asked(order)[:3] == first


@given(st.lists(st.integers(0, 3), max_size=200))
def test_no_shard_waits_longer_than_all_others_took_once(choices):
    """Whichever shards have messages: one that does is served within as many turns as there are shards."""
    order = order_of(4, {"interactive": 4})
    waiting_for = 0
    for choice in choices:
        served = serve(order, {"build.interactive.0", f"build.interactive.{choice}"})
        waiting_for = 0 if served == "build.interactive.0" else waiting_for + 1
        assert waiting_for < 4


def test_classes_share_by_weight_and_none_starves():
    order = order_of(4)
    served = [class_of(serve(order, set(queue_names(WEIGHTS, 4)[3:]))) for _ in range(100)]
    assert served.count("interactive") == 80
    assert all("bulk" in served[start : start + 5] for start in range(0, 100, 5))


def test_a_class_that_was_idle_has_saved_up_no_turns():
    order = order_of(4)
    for _ in range(1000):
        serve(order, {"build.bulk.0", "build.bulk.1"})
    served = [class_of(serve(order, set(queue_names(WEIGHTS, 4)[3:]))) for _ in range(20)]
    assert served[:4] == ["interactive"] * 4
    assert 3 <= served.count("bulk") <= 4


def test_a_node_asks_for_the_classes_that_it_serves():
    app = make_celery(Settings(node_classes="bulk", shards=2))
    names = [queue.name for queue in app.conf.task_queues]
    assert names == ["build.bulk.retry", SUBMIT_QUEUE, "build.bulk.0", "build.bulk.1"]


def test_workers_start_with_different_shards():
    assert len({asked(order_of(16))[3] for _ in range(200)}) > 4


def test_two_farms_in_one_process_do_not_share_an_application():
    one, two = make_celery(Settings(namespace="one:")), make_celery(Settings(namespace="two:"))
    assert one.conf.broker_transport_options["global_keyprefix"] == "one:"
    assert two.conf.broker_transport_options["global_keyprefix"] == "two:"
    assert one.conf.accept_content == ["json"]
