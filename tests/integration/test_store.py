"""Records, logs, nodes and messages on a real Redis."""

from __future__ import annotations

import threading

import pytest

from buildfarm.errors import NotFoundError
from buildfarm.model import ArtifactSource, BuildRequest, Node, Phase, State
from buildfarm.queues import queue_names, shard_of
from buildfarm.store import Lease, Leases, Logs, Nodes
from buildfarm.telemetry import Metrics, logger
from workers.sweeper import Sweeper

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)


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
    log.append(lease, Phase.COMPILE, ["x" * 60, "y" * 60, "z"])
    log.append(lease, Phase.COMPILE, ["more"])
    lines = [line.text for line in log.read(build.id)]
    assert lines[0] == "x" * 60
    assert "over its limit" in lines[1]
    assert len(lines) == 2


def test_reading_a_log_goes_on_where_it_stopped(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    farm.log_streams.append(lease, Phase.PREPARE, ["1", "2"])
    first = farm.log_streams.read(build.id)
    farm.log_streams.append(lease, Phase.COMPILE, ["3"])
    later = farm.log_streams.read(build.id, first[-1].position, wait_seconds=1)
    assert [line.text for line in later] == ["3"]
    assert later[0].phase is Phase.COMPILE
    assert farm.log_streams.tail(build.id, 2) == ["2", "3"]
    assert farm.log_streams.read(build.id, later[-1].position, wait_seconds=0.01) == []


def test_a_node_is_seen_until_it_leaves(farm):
    nodes = Nodes(farm.database)
    node = Node(id="n", builder="sha256:x", slots=2, busy=1, accepting=False, reason="it is full", seen_at=1.5)
    nodes.beat(node, 30)
    assert nodes.all() == [node]
    nodes.leave("n")
    assert nodes.all() == []


def test_the_sweeper_sends_what_was_lost_and_nothing_else(farm, leases):
    sweeper = Sweeper(
        farm.records, leases, queue_names(farm.settings.classes, farm.settings.shards), 0, Metrics(), logger()
    )
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
    Sweeper(farm.records, silent, [], 60, Metrics(), logger()).sweep()
    assert farm.get(build.id).state is State.QUEUED
    assert farm.records.message_count(["build.interactive.retry"]) == 1
