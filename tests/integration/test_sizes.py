"""Builds of several sizes: each waits for nodes of its own size, and no node has more of them than it advertises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.connection import Connection

from buildfarm.errors import ConflictError, NotFoundError, RequestError
from buildfarm.model import BuildResult, State
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.queue.names import node_queue
from buildfarm.store import Lease, Leases, Nodes, Unclaimed
from testkit.queue.farm import fresh_farm, node, request

GIB = 1024**3
SIZES = {"large": "memory:6GiB/cpus:4"}
ON = {"sizes": SIZES, "tenant_sizes": frozenset({"standard", "large"}), "sizes_on_demand": frozenset({"large"})}
NODE = {"BUILDFARM_SIZES": "large=memory:6GiB/cpus:4", "BUILDFARM_NODE_CPUS": "8"}


@pytest.fixture
def sized():
    """A farm of two sizes; the larger one is accepted while no node serves it."""
    with fresh_farm(**ON) as farm:
        yield farm


def result(name):
    return BuildResult(
        repository="apps/t/app", digest=Digest("sha256:" + "a" * 64), tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds={}, node=name, attempt=1,
    )  # fmt: skip


def submit(farm, tenant, app="app", **fields):
    return farm.submit(request(tenant, app, cached_result=False, **fields))


def claim(farm, build, size, node="n"):
    return Leases(farm.admission, 9, 3).claim(build.id, node, size=size)


def beat(farm, name, *, sizes, serves=(), builds=()):
    kinds = tuple(kind for kind in ("interactive", "interactiveXlarge") if ("X" in kind) <= ("large" in sizes))
    row = Node(id=name, state=NodeState.READY, slots=2, builds=builds, classes=kinds, sizes=sizes)
    return Nodes(farm.database).beat(row, " ".join(serves or kinds))


def test_a_size_that_does_not_exist_is_not_allowed_or_that_no_node_serves_is_refused_at_submit():
    with fresh_farm(sizes=SIZES) as farm:
        with pytest.raises(RequestError, match="There is no size gigantic"):
            submit(farm, "t", size="gigantic")
        with pytest.raises(RequestError, match="t must not use the size large"):
            submit(farm, "t", size="large")
        assert farm.set_limits("t", sizes=["standard", "large"]).sizes == ("standard", "large")
        with pytest.raises(RequestError, match="No build node serves the size large now"):
            submit(farm, "t", size="large")
        beat(farm, "n", sizes={"standard": 1})
        with pytest.raises(RequestError, match="No build node serves the size large now"):
            submit(farm, "t", size="large")
        beat(farm, "n", sizes={"large": 1})
        assert submit(farm, "t", size="large").request.size == "large"
        assert farm.queue().classes[2].size == "large"
        assert farm.set_limits("t", sizes=None).sizes == ("standard",)
        with pytest.raises(RequestError, match="An app has no limit named sizes"):
            farm.set_limits("t", "a", sizes=["large"])


def test_an_app_keeps_the_size_that_was_chosen_for_it(sized):
    assert sized.app_size("t", "app") == "standard"
    assert submit(sized, "t").request.size is None
    assert sized.set_app_size("t", "app", "large") == "large"
    assert submit(sized, "t").request.size == "large"
    assert submit(sized, "t", "other").request.size is None
    assert submit(sized, "t", size="standard").request.size is None
    sized.set_app_size("t", "app", "standard")
    assert submit(sized, "t").request.size is None
    sized.set_limits("t", sizes=["standard"])
    with pytest.raises(RequestError, match="must not use"):
        sized.set_app_size("t", "app", "large")


def test_a_size_is_kept_for_known_apps_alone_and_goes_with_the_app(sized):
    client, key = sized.database.client, sized.database.key
    with pytest.raises(NotFoundError, match="There is no app t/unknown"):
        sized.set_app_size("t", "unknown", "large")
    submit(sized, "t", "idle")
    sized.set_app_size("t", "idle", "large")
    sized.set_limits("t", sizes=["large", "standard"])
    assert client.hgetall(key("app-sizes")) == {"t/idle": "large"}
    client.zadd(key("apps"), {"t/idle": 1})
    submit(sized, "t", "other")
    assert not client.exists(key("app-sizes"))
    assert sized.sizes.tenants() == {"t": "large,standard"}


def test_a_tenants_builds_of_one_size_do_not_wait_behind_those_of_another(sized):
    """No node takes large ones: they have half of the tenant's places, and the standard ones the others."""
    for number in range(20):
        submit(sized, "t", f"l{number}", size="large")
    small = [submit(sized, "t", f"s{number}") for number in range(20)]
    states = [sized.get(build.id).state for build in small]
    assert states.count(State.QUEUED) == 4  # as many as without large ones
    for build in small[:4]:
        assert isinstance(claim(sized, build, "standard"), Lease)
    assert sum(sized.get(build.id).state is not State.HELD for build in small) >= 5
    assert {row.size: row.queued for row in sized.queue().classes if row.build_class == "interactive"}["large"] == 4


def test_a_build_that_lacks_its_base_keeps_no_other_of_its_size_from_the_queue():
    """Nine sizes: a tenant has one place of its ten for each."""
    names = [f"s{letter}" for letter in "abcdefgh"]
    with fresh_farm(sizes=dict.fromkeys(names, "memory:6GiB"), tenant_sizes=frozenset({"standard", *names})) as farm:
        first = submit(farm, "t", "a")
        client, key = farm.database.client, farm.database.key
        client.hset(key("build", first.id), "lacks", "a base that no node has")
        client.sadd(key("lacking", "interactive", "t"), first.id)
        assert submit(farm, "t", "b").state is State.QUEUED
        assert submit(farm, "t", "c").state is State.HELD


def test_a_tenant_of_one_size_has_all_of_its_places_for_it():
    with fresh_farm(sizes={f"s{letter}": "memory:6GiB" for letter in "abcdefgh"}) as farm:
        states = [submit(farm, "t", name).state for name in "abcde"]
        assert states.count(State.QUEUED) == 4  # as many as without sizes
        farm.set_limits("u", sizes=["standard", "sa", "sb"])
        states = [submit(farm, "u", name).state for name in "abcde"]
        assert states.count(State.QUEUED) == 3


def test_a_build_between_two_attempts_keeps_no_other_of_its_size_from_the_queue():
    with fresh_farm(sizes=SIZES) as farm:
        farm.set_limits("t", running=2, sizes=["standard", "large"])
        first = submit(farm, "t", "a")
        client, key = farm.database.client, farm.database.key
        client.zadd(key("retries"), {first.id: 2e9})
        assert submit(farm, "t", "b").state is State.QUEUED
        assert submit(farm, "t", "c").state is State.HELD


def test_a_size_that_a_node_serves_is_not_taken_for_a_removed_one(sized):
    """A sweeper whose node does not know the setting finds a size in the queue that is not in its own."""
    queued = submit(sized, "t", size="large").id
    beat(sized, "n", sizes={"large": 1})
    sized.admission.fail_of_removed_classes(10)
    classes = {name: weight for name, weight in sized.admission.terms.classes.items() if "X" not in name}
    sweeper = replace(sized.admission, terms=replace(sized.admission.terms, classes=classes))
    assert sweeper.fail_of_removed_classes(10, seconds=0) == []
    Nodes(sized.database).leave("n")
    assert sweeper.fail_of_removed_classes(10, seconds=0) == [queued]


def test_the_view_of_the_queue_costs_as_many_round_trips_for_any_number_of_sizes(monkeypatch):
    sent = []
    send = Connection.send_packed_command
    monkeypatch.setattr(Connection, "send_packed_command", lambda *args, **more: (sent.append(1), send(*args, **more)))

    def round_trips(farm):
        sent.clear()
        farm.queue()
        return len(sent)

    with fresh_farm(sizes={f"s{letter}": "memory:6GiB" for letter in "abcdefgh"}) as farm, fresh_farm() as other:
        for each in (farm, other):
            submit(each, "t")
            each.queue()
        assert round_trips(farm) == round_trips(other) <= 4
        [row] = farm.queue().tenants
        assert (row.tenant, row.size, row.queued) == ("t", "standard", 1)


def test_a_node_that_cannot_be_read_keeps_no_size_from_the_others(sized):
    beat(sized, "n", sizes={"large": 1})
    beat(sized, "other", sizes={"large": 1})
    sized.database.client.hset(sized.database.key("node", "other"), "sizes", "{")
    assert [node.id for node in sized.nodes()] == ["n"]
    assert submit(sized, "t", size="large").request.size == "large"


def test_an_accepted_build_is_the_answer_to_its_repeated_submit_whatever_changed_meanwhile():
    with fresh_farm(sizes=SIZES, tenant_sizes=frozenset({"standard", "large"})) as farm:
        beat(farm, "n", sizes={"large": 1})
        submit(farm, "t")
        farm.set_app_size("t", "app", "large")
        chosen = submit(farm, "t", idempotency_key="a")
        asked = submit(farm, "t", "other", size="large", idempotency_key="b")
        Nodes(farm.database).leave("n")
        assert submit(farm, "t", idempotency_key="a").id == chosen.id
        assert submit(farm, "t", "other", size="large", idempotency_key="b").id == asked.id
        farm.set_app_size("t", "app", "standard")
        assert submit(farm, "t", idempotency_key="a").id == chosen.id
        with pytest.raises(ConflictError):
            submit(farm, "t", size="standard", idempotency_key="b")


def test_a_claim_takes_only_a_build_of_the_size_that_it_has_room_for(sized):
    large, small = submit(sized, "t", "l", size="large"), submit(sized, "t", "s")
    assert claim(sized, large, "standard") == Unclaimed("size")
    assert claim(sized, small, "large") == Unclaimed("size")
    assert claim(sized, large, "large").build.request.size == "large"
    assert isinstance(claim(sized, small, "standard"), Lease)


def test_the_message_of_a_superseded_build_does_not_begin_a_larger_one(sized):
    small = submit(sized, "t")
    large = submit(sized, "t", size="large")
    assert sized.get(small.id).state is State.SUPERSEDED
    assert claim(sized, small, "standard") == Unclaimed("size")
    assert claim(sized, large, "large").build_id == large.id


def test_a_build_is_offered_to_its_last_node_in_the_queue_of_its_size(sized):
    leases, database = Leases(sized.admission, 9, 3), sized.database
    first = submit(sized, "t", size="large")
    beat(sized, "last", sizes={"large": 1})
    lease = claim(sized, first, "large", "last")
    leases.succeed(lease, result("last"))
    build = submit(sized, "t", size="large")
    offered = leases.claim(build.id, "other", offer=True, size="large")
    assert offered == Unclaimed("offered", build.id)
    assert database.client.llen(database.key(node_queue("last", "large"))) == 1
    assert database.client.llen(database.key(node_queue("last"))) == 0
    assert isinstance(leases.claim(build.id, "other", size="large"), Lease)
    assert database.client.llen(database.key(node_queue("last", "large"))) == 0


def test_a_node_of_several_sizes_hears_which_ones_wait(sized):
    assert beat(sized, "n", sizes={"standard": 2, "large": 1}).waiting == frozenset()
    submit(sized, "t", size="large")
    assert beat(sized, "n", sizes={"standard": 2, "large": 1}).waiting == {"large"}
    assert beat(sized, "one", sizes={"large": 1}).waiting == frozenset()


def test_why_a_build_waits_names_its_size(sized):
    build = submit(sized, "t", size="large")
    beat(sized, "small", sizes={"standard": 2})
    place = sized.queue_position(build)
    assert (place.cause, place.why) == (
        "node", "No build node takes builds of the class interactive and the size large now."
    )  # fmt: skip


def most_bytes(builds):
    """The most memory that these ended builds had at once, by the times of their claims and ends."""
    sizes = {"large": 6 * GIB, None: 2 * GIB}
    changes = [(build.started_at, sizes[build.request.size]) for build in builds]
    changes += [(build.finished_at, -sizes[build.request.size]) for build in builds]
    now, most = 0, 0
    for _, change in sorted(changes):  # at the same moment, ends come first
        now += change
        most = max(most, now)
    return most


def test_a_mixed_node_runs_what_fits_and_large_builds_get_their_turn(sized):
    """8 GiB: four standard builds, or a large one and a standard one."""
    own = {"BUILDFARM_NODE_ID": "mixed", "BUILDFARM_NODE_SIZES": "standard,large"}
    memory = {"BUILDFARM_NODE_MEMORY_BYTES": str(8 * GIB)}
    with node(sized, 4, 0.2, **NODE, **own, **memory):
        small = [submit(sized, f"s{number % 8}", f"a{number}") for number in range(24)]
        large = [submit(sized, "big", f"b{number}", size="large") for number in range(2)]
        while len(small) < 400 and sized.get(large[0].id).started_at is None:  # others go on coming
            small.append(submit(sized, f"s{len(small) % 8}", f"a{len(small)}"))
            sized.wait(small[-8].id, timeout_seconds=30)
        ended = [sized.wait(build.id, timeout_seconds=30) for build in [*small, *large]]
        assert {(build.state, build.node) for build in ended} == {(State.SUCCEEDED, "mixed")}
        assert 6 * GIB < most_bytes(ended) <= 8 * GIB
        # They did not wait for all standard ones.
        first = min(build.started_at for build in ended if build.request.size == "large")
        assert first < max(build.started_at for build in ended if build.request.size is None)
