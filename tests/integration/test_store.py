"""Records, logs, nodes and messages on a real Redis."""

from __future__ import annotations

import threading
import time

import pytest

from buildfarm.access import Rates, Scope, Tokens
from buildfarm.errors import NotFoundError, RequestError
from buildfarm.model import BuildRequest, BuildResult, Failure, Fault, Phase, State
from buildfarm.node import Node, NodeState
from buildfarm.queue.names import queue_names, shard_of
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases, Logs, Nodes, Wakeups
from buildfarm.store.nodes import Orders
from buildfarm.telemetry import logger
from buildfarm.telemetry.metrics import Metrics
from testkit.archive import used_digests
from workers.upkeep.sweeper import Sweeper

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)


FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")


def make_sweeper(farm, leases, *, resend_seconds):
    queues = queue_names(farm.settings.classes, farm.settings.shards)
    return Sweeper("n", farm.records, leases, Nodes(farm.database), queues, resend_seconds, Metrics(), logger())


def request(app="a", tenant="t"):
    return BuildRequest(tenant=tenant, app=app, source=SOURCE)


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


def test_submitting_writes_the_record_and_one_message(farm):
    build = farm.submit(request())
    assert farm.get(build.id).state is State.QUEUED
    queues = queue_names(farm.settings.classes, farm.settings.shards)
    assert farm.records.message_count(queues) == 1
    assert farm.records.message_count([shard_of("t", "interactive", farm.settings.shards)]) == 1


def test_a_build_that_is_not_there(farm):
    for ask in (farm.get, farm.cancel, lambda build_id: list(farm.logs(build_id))):
        with pytest.raises(NotFoundError):
            ask("nonsense")


def test_builds_are_listed_newest_first_and_by_app(farm):
    ids = [farm.submit(request(app)).id for app in ("a", "b", "a")]
    assert [build.id for build in farm.recent()] == ids[::-1]
    assert [build.id for build in farm.recent(tenant="t", app="a")] == [ids[2], ids[0]]
    assert len(farm.recent(1)) == 1


def test_of_many_claims_at_once_one_wins(farm, leases):
    build = farm.submit(request())
    won = []
    start = threading.Barrier(8)

    def claim(number):
        start.wait()
        lease = leases.claim(build.id, f"node-{number}")
        if isinstance(lease, Lease):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert farm.get(build.id).node == f"node-{won[0]}"


def test_a_log_that_grows_too_long_is_cut_and_says_so(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    log = Logs(farm.database, 100)
    log.append(lease, Phase.COMPILE, ["x" * 60, "y" * 60, "z"], 1)
    log.append(lease, Phase.COMPILE, ["more"], 2)
    lines = [line.text for line in log.read(build.id)]
    assert lines[0] == "x" * 60
    assert "over its limit" in lines[1]
    assert len(lines) == 2


def test_reading_a_log_goes_on_where_it_stopped(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    farm.log_streams.append(lease, Phase.PREPARE, ["1", "2"], 1)
    first = farm.log_streams.read(build.id)
    farm.log_streams.append(lease, Phase.COMPILE, ["3"], 2)
    later = farm.log_streams.read(build.id, first[-1].position, wait_seconds=1)
    assert [line.text for line in later] == ["3"]
    assert later[0].phase is Phase.COMPILE
    assert [line.text for line in farm.log_streams.tail(build.id, 2)] == ["2", "3"]
    assert farm.log_streams.read(build.id, later[-1].position, wait_seconds=0.01) == []


def test_a_node_is_seen_until_it_leaves(farm):
    nodes = Nodes(farm.database)
    node = Node(
        id="n", version="1", state=NodeState.CLOSED, reason="it is full", slots=2, builds=("a", "b"), builder="sha256:x"
    )
    assert nodes.beat(node) == Orders(drain=False, builder="")
    [seen] = nodes.all()
    assert seen == node.model_copy(update={"seen_at": seen.seen_at})
    assert abs(seen.seen_at - time.time()) < 60
    assert (seen.busy, seen.accepting) == (2, False)
    nodes.leave("n")
    assert nodes.all() == []


def test_a_node_that_falls_silent_is_gone_until_it_is_back(farm):
    nodes = Nodes(farm.database)
    node = Node(id="n", state=NodeState.READY, slots=1)
    nodes.beat(node)
    assert nodes.mark_gone() == []
    farm.database.client.zincrby(farm.database.key("nodes"), -20, "n")
    assert nodes.mark_gone() == ["n"]
    assert nodes.mark_gone() == []
    assert [found.state for found in nodes.all()] == [NodeState.GONE]
    with pytest.raises(NotFoundError):
        nodes.drain("n")
    nodes.beat(node)
    assert nodes.all()[0].accepting


def test_an_order_to_drain_is_heard_and_ends_with_the_node(farm):
    nodes = Nodes(farm.database)
    node = Node(id="n", state=NodeState.READY, slots=1)
    nodes.beat(node)
    farm.drain("n")
    assert nodes.beat(node).drain
    nodes.leave("n")
    assert not nodes.beat(node).drain
    with pytest.raises(NotFoundError):
        farm.drain("other")


def test_the_builder_of_the_farm_is_the_promoted_one(farm):
    assert farm.builder() == farm.settings.builder
    repository, _, digest = farm.settings.builder.partition("@")
    assert farm.promote_builder(farm.settings.builder) == farm.settings.builder
    assert Nodes(farm.database).beat(Node(id="n", state=NodeState.READY, slots=1)).builder == farm.settings.builder
    for wrong in (
        "nowhere/builder",
        f"{repository}@sha256:{'0' * 64}",
        f"{repository}@sha256:short",
        f"{repository}:no",
    ):
        with pytest.raises(RequestError):
            farm.promote_builder(wrong)
    assert farm.builder().endswith(digest)


def test_one_node_sweeps_until_it_falls_silent(farm):
    nodes = Nodes(farm.database)
    assert nodes.lead("a", 60)
    assert not nodes.lead("b", 60)
    assert nodes.lead("a", 60)
    farm.database.client.delete(farm.database.key("sweeper"))
    assert nodes.lead("b", 60)


def test_a_build_that_was_given_back_waits_and_is_due_once(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    assert leases.give_back(lease, FAILURE, wait_seconds=60) == State.QUEUED
    assert leases.waiting_count() == 1
    assert leases.send_due(10) == 0
    farm.database.client.zadd(farm.database.key("retries"), {build.id: 1})
    assert leases.send_due(10) == 1
    assert leases.send_due(10) == 0
    assert farm.records.message_count(["build.interactive.retry"]) == 1
    assert leases.claim(build.id, "n").attempt == 2


def test_an_attempt_that_does_not_count_uses_none_up_within_a_bound(farm, leases):
    build = farm.submit(request())
    for _ in range(10):
        assert leases.give_back(leases.claim(build.id, "n"), FAILURE, counts=False) == State.QUEUED
    answers = [leases.give_back(leases.claim(build.id, "n"), FAILURE, counts=False) for _ in range(3)]
    assert answers == [State.QUEUED, State.QUEUED, State.FAILED]


def test_a_rate_survives_a_clock_that_goes_back(farm):
    rates, key = Rates(farm.database), farm.database.key("rate", "calls", "t")
    assert rates.take("calls", "t", 10, 3600) == 0
    at = float(farm.database.client.hget(key, "at"))
    farm.database.client.hset(key, "at", at + 36_000)  # the clock was ten hours ahead
    assert [rates.take("calls", "t", 10, 3600) for _ in range(9)] == [0] * 9
    assert 0 < rates.take("calls", "t", 10, 3600) <= 360


def test_the_name_of_the_farms_own_images_is_no_tenants(farm):
    with pytest.raises(RequestError, match="reserved for the farm's own image builds"):
        farm.submit(request(tenant="images"))
    tokens = Tokens(farm.database)
    with pytest.raises(RequestError, match="reserved for the farm's own image builds"):
        tokens.make("images", "ci", {Scope.READ}, 1)
    text, token = tokens.make("t", "ci", {Scope.READ}, 1)
    session = tokens.open_session(token)
    assert tokens.verify(text) == tokens.session(session) == token
    farm.database.client.hset(farm.database.key("token", token.id), "tenant", "images")  # one made by an older version
    assert tokens.verify(text) is None
    assert tokens.session(session) is None


def test_all_records_are_looked_at_for_what_the_registry_must_keep(farm, leases):
    digests = [f"sha256:{number:064x}" for number in range(3)]
    ended = farm.submit(request("a"))
    leases.succeed(
        leases.claim(ended.id, "n"),
        BuildResult(
            repository="apps/t/a", digest=digests[0], tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
            node="n", attempt=1,
        ),
    )  # fmt: skip
    source = ArtifactSource(repository="sources/t", digest=digests[1])
    farm.submit(BuildRequest(tenant="t", app="b", source=source))
    newer = farm.submit(BuildRequest(tenant="t", app="c", source=source.model_copy(update={"digest": digests[2]})))
    farm.database.client.hset(farm.database.key("build", newer.id), "state", "of a newer version")
    farm.database.client.delete(farm.database.key("builds"))  # which is bounded: the oldest are not in it
    assert farm.records.digests() == set(digests)
    assert used_digests(farm) >= set(digests)


def test_packed_buildpacks_that_the_farm_or_a_waiting_build_names_stay_in_the_registry(farm, leases):
    order, named = ([f"oci:buildpacks/x{name}@sha256:{name * 64}" for name in names] for names in ("12", "34"))
    farm.order_buildpacks(order)
    waiting = farm.submit(request("a"))  # with the order as it is now
    other = farm.submit(request("b").model_copy(update={"buildpacks": tuple(named)}))
    assert used_digests(farm) >= {f"sha256:{name * 64}" for name in "1234"}
    farm.order_buildpacks([])
    assert used_digests(farm) >= {f"sha256:{name * 64}" for name in "1234"}
    for build in (waiting, other):
        farm.cancel(build.id)
    assert not used_digests(farm) & {f"sha256:{name * 64}" for name in "1234"}


def test_a_call_reaches_who_listens(farm):
    wakeups, heard = Wakeups(farm.database), []
    wakeups.wait(heard.append)
    build = farm.submit(request())
    Leases(farm.admission, 9, 3).claim(build.id, "n")
    farm.cancel(build.id)
    for _ in range(5):
        if not heard:
            wakeups.wait(heard.append)
    wakeups.close()
    assert heard == [build.id]


def test_the_sweeper_sends_what_was_lost_and_nothing_else(farm, leases):
    sweeper = make_sweeper(farm, leases, resend_seconds=0)
    queues = queue_names(farm.settings.classes, farm.settings.shards)
    waiting = farm.submit(request())
    sweeper.sweep()
    assert farm.records.message_count(queues) == 1
    lost = farm.submit(request("b"))
    farm.database.client.delete(farm.database.key(shard_of("t", "interactive", farm.settings.shards)))
    sweeper.sweep()
    assert farm.records.message_count(["build.interactive.retry"]) == 2
    assert {waiting.id, lost.id} == {build.id for build in farm.recent()}
    sweeper.sweep()
    assert farm.records.message_count(queues) == 2


def test_the_sweeper_takes_back_what_a_silent_node_held(farm):
    silent = Leases(farm.admission, -1, 3)
    build = farm.submit(request())
    assert silent.claim(build.id, "n")
    sweeper = make_sweeper(farm, silent, resend_seconds=60)
    sweeper.sweep()
    assert farm.get(build.id).state is State.RUNNING  # nobody swept before: how long it was silent is not known
    sweeper.sweep()
    assert farm.get(build.id).state is State.QUEUED
    assert farm.records.message_count(["build.interactive.retry"]) == 1
