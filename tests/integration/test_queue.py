"""Who waits, who is let in, and who is told: the farm's queue on a real Redis and registry."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from buildfarm.errors import ConflictError, QueueFullError, RequestError
from buildfarm.input_digest import input_digest
from buildfarm.model import BuildRequest, BuildResult, Failure, Fault, RunPolicy, State
from buildfarm.node import Node, NodeState
from buildfarm.oci.digest import Digest
from buildfarm.queue.why import Cause
from buildfarm.sources.address import ArtifactSource, GitSource
from buildfarm.store import Lease, Leases, Nodes
from testkit.builds import promised, wait_for, write_files

DIGEST = Digest("sha256:" + "a" * 64)
SOURCE = ArtifactSource(repository="sources/t", digest=DIGEST)
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def request(app="a", tenant="t", **fields):
    return BuildRequest(**{"tenant": tenant, "app": app, "source": SOURCE, **fields})


def result(repository="apps/t/a", digest=DIGEST):
    return BuildResult(
        repository=repository, digest=digest, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={}, node="n",
        attempt=1,
    )  # fmt: skip


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


def succeed(farm, leases, build, **fields):
    lease = leases.claim(build.id, "n")
    assert isinstance(lease, Lease)
    leases.succeed(lease, result(**fields), input_digest=input_digest(build.request, builder(farm), farm.settings))


def builder(farm):
    return farm.builder().partition("@")[2]


def test_what_is_over_a_limit_is_held_until_another_ends(farm, leases):
    farm.set_limits("t", running=2)
    builds = [farm.submit(request(app)) for app in "abc"]
    assert [build.state for build in builds] == ["queued", "queued", "held"]
    lease = leases.claim(builds[0].id, "n")
    assert farm.get(builds[2].id).state is State.HELD
    leases.succeed(lease, result())
    assert farm.get(builds[2].id).state is State.QUEUED


def test_limits_are_changed_live(farm):
    farm.set_limits("t", running=1)
    held = [farm.submit(request(app)) for app in "abc"][1:]
    assert farm.set_limits("t", running=3).tenant_running == 3
    assert {farm.get(build.id).state for build in held} == {State.QUEUED}
    twins = [farm.submit(request("z", run_policy="all")) for _ in range(2)]
    assert farm.set_limits("t", running=9).app_running == 1
    assert [farm.get(build.id).state for build in twins] == ["queued", "held"]
    # Four of a tenant are queued; the others follow as these are claimed.
    assert farm.set_limits("t", "z", running=2).app_running == 2
    assert farm.get(twins[1].id).state is State.HELD
    Leases(farm.admission, 9, 3).claim(held[0].id, "n")
    assert farm.get(twins[1].id).state is State.QUEUED


@pytest.mark.parametrize("wrong", [{"running": 0}, {"running": -1}, {"waiting": 10**9}, {"speed": 5}])
def test_absurd_limits_are_refused(farm, wrong):
    with pytest.raises(RequestError):
        farm.set_limits("t", **wrong)
    assert farm.limits_set() == {}


def test_a_full_queue_refuses_and_says_when_to_come_back(farm):
    farm.set_limits("t", waiting=2)
    for app in "ab":
        farm.submit(request(app))
    with pytest.raises(QueueFullError, match="t has 2 builds waiting; the limit is 2") as refused:
        farm.submit(request("c"))
    assert 5 <= refused.value.retry_after_seconds <= 600
    # One that takes another's place makes the queue no longer.
    assert farm.submit(request("b")).state is State.QUEUED
    assert farm.submit(request("c", tenant="u")).state is State.QUEUED


def test_a_class_that_is_not_there(farm):
    with pytest.raises(RequestError, match="no class nightly") as refused:
        farm.submit(request(build_class="nightly"))
    assert "interactive, bulk" in refused.value.advice


def test_the_caller_of_a_superseded_build_is_told(farm):
    older, ends = farm.submit(request()), []
    waiting = threading.Thread(target=lambda: ends.append(farm.wait(older.id, timeout_seconds=20)))
    waiting.start()
    newer = farm.submit(request())
    waiting.join(20)
    assert (ends[0].state, ends[0].superseded_by) == (State.SUPERSEDED, newer.id)
    told = [event for event in farm.events.read("0") if event.build == older.id][-1]
    assert (told.state, told.superseded_by, told.tenant, told.app) == (State.SUPERSEDED, newer.id, "t", "a")


def test_the_message_of_a_superseded_build_serves_the_newer_one(farm, leases):
    older = farm.submit(request())
    newer = farm.submit(request())
    assert leases.claim(older.id, "n").build_id == newer.id
    assert leases.claim(newer.id, "n").reason == State.RUNNING


def test_all_means_all(farm):
    builds = [farm.submit(request(run_policy=RunPolicy.ALL)) for _ in range(3)]
    farm.submit(request(run_policy=RunPolicy.LATEST_ALWAYS))
    assert State.SUPERSEDED not in {farm.get(build.id).state for build in builds}


def test_twenty_callers_with_one_key_get_one_build(farm):
    start, ids = threading.Barrier(20), []

    def call():
        start.wait()
        ids.append(farm.submit(request(idempotency_key="k")).id)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == len(farm.recent()) == 1
    with pytest.raises(ConflictError, match="another request"):
        farm.submit(request("b", idempotency_key="k"))
    assert farm.submit(request("b", tenant="u", idempotency_key="k")).id not in ids


def test_an_equal_input_is_answered_with_its_image(farm, leases):
    repository = f"apps/{farm.settings.namespace.strip(':')}/a"
    tenant = repository.split("/")[1]
    config = farm.registry.put_blob(repository, b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [],
    }
    image = farm.registry.put_manifest(repository, json.dumps(manifest).encode(), MANIFEST_TYPE, tag="first")
    first = farm.submit(request(tenant=tenant))
    succeed(farm, leases, first, repository=repository, digest=image)

    same = farm.submit(request(tenant=tenant))
    assert (same.state, same.result_of, same.result.digest) == (State.SUCCEEDED, first.id, image)
    assert farm.registry.get_manifest(repository, "latest")[2] == image
    assert farm.wait(same.id).id == same.id
    for other in ({"cached_result": False}, {"clean": True}, {"env": {"A": "1"}}, {"buildpacks": ("static",)}):
        build = farm.submit(request(tenant=tenant, run_policy="all", **other))
        assert (build.result_of, farm.cancel(build.id)) == (None, State.QUEUED)
    # Where a build of the app is on its way, it would publish after the answer.
    farm.submit(request(tenant=tenant, cached_result=False, run_policy="all"))
    assert farm.submit(request(tenant=tenant, run_policy="all")).result_of is None


def test_an_image_that_is_gone_is_built_again(farm, leases):
    succeed(farm, leases, farm.submit(request()))
    assert farm.submit(request()).state is State.QUEUED


def test_a_branch_moves_and_is_built_again(farm):
    branch = request(source=GitSource(url="https://example.org/a.git", ref="main"))
    commit = request(source=GitSource(url="https://example.org/a.git", ref="c" * 40))
    assert input_digest(branch, DIGEST, farm.settings) == ""
    assert input_digest(commit, DIGEST, farm.settings)
    assert input_digest(commit, "", farm.settings) == ""


def test_a_build_that_waits_too_long_is_failed_and_not_built(farm, leases):
    farm.set_limits("t", running=1)
    queued = farm.submit(request("a", expires_in_seconds=0.01))
    held = farm.submit(request("b", expires_in_seconds=0.01))
    patient = farm.submit(request("c", expires_in_seconds=3600))
    time.sleep(0.02)  # what is waited for is the time itself
    assert leases.claim(queued.id, "n").reason == "expired"
    # Its end let the next one in.
    assert set(farm.admission.expire(10)) == {held.id}
    for build in (queued, held):
        ended = farm.get(build.id)
        assert (ended.state, ended.failure.code, ended.attempt) == (State.FAILED, "farm.expired", 0)
    assert farm.get(patient.id).state is State.QUEUED


def test_builds_of_a_class_that_was_removed_are_failed_and_say_so(farm, leases):
    classes = {"interactive": 4, "bulk": 1, "nightly": 1}
    before = replace(farm.admission, terms=replace(farm.admission.terms, classes=classes))
    assert before.fail_of_removed_classes(10) == []
    farm.set_limits("t", running=2)
    running, queued, *held = [
        replace(farm.records, admission=before).submit(f"b{number}", request(f"a{number}"), "build.nightly.0").build_id
        for number in range(4)
    ]
    other = farm.submit(request("other"))
    lease = Leases(before, 9, 3).claim(running, "n")
    assert farm.admission.fail_of_removed_classes(10) == []  # other processes may have the old settings for a while
    assert farm.admission.fail_of_removed_classes(2, seconds=0) == [queued, held[0]]
    assert farm.admission.fail_of_removed_classes(10, seconds=0) == held[1:]
    for build_id in (queued, *held):
        ended = farm.get(build_id)
        assert (ended.state, ended.failure.code) == (State.FAILED, "farm.class_removed")
    assert farm.get(other.id).state is State.QUEUED  # there is room for it now
    # What runs may end; if it is given back, it has no class to wait in either.
    failure = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
    assert leases.give_back(lease, failure) == State.QUEUED
    assert farm.admission.fail_of_removed_classes(10, seconds=0) == [running]
    assert list(farm.database.client.scan_iter(f"{farm.database.namespace}*nightly*")) == []


def beat(farm, busy=(), **fields):
    Nodes(farm.database).beat(Node(id="n", state=NodeState.READY, slots=1, builds=busy, **fields))


def test_a_waiting_build_tells_why_it_waits(farm, leases):
    farm.set_limits("t", running=2)
    first = farm.submit(request("a"))

    def cause(build):
        return farm.queue_position(farm.get(build.id)).cause

    assert cause(first) == Cause.NODE
    beat(farm, classes=("bulk",))
    assert cause(first) == Cause.NODE
    beat(farm)
    assert cause(first) == Cause.NOTHING
    leases.claim(first.id, "n")
    beat(farm, busy=(first.id,))
    second, other, third = farm.submit(request("a")), farm.submit(request("b")), farm.submit(request("c"))
    assert farm.queue_position(second).why == f"An earlier build of the app has not ended: {first.id}."
    assert (cause(second), cause(other), cause(third)) == (Cause.APP_LIMIT, Cause.SLOT, Cause.TENANT_LIMIT)
    failure = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
    assert leases.give_back(leases.claim(other.id, "n"), failure, wait_seconds=30) == State.QUEUED
    beat(farm)
    assert cause(other) == Cause.RETRY


def test_a_waiting_build_tells_its_place(farm, leases):
    builds = [farm.submit(request(f"app-{number}")) for number in range(6)]
    others = [farm.submit(request(tenant=f"u-{number}")) for number in range(3)]
    # Four tenants take turns: the first of each is among the first four, the second of t among the next.
    assert [farm.queue_position(build).position for build in builds] == [4, 8, 9, 9, 9, 9]
    assert [farm.queue_position(build).position for build in others] == [4, 4, 4]
    assert farm.queue_position(builds[0]).wait_seconds is None
    leases.claim(builds[0].id, "n")
    assert farm.queue_position(farm.get(builds[0].id)) is None
    assert farm.queue_position(builds[1]).wait_seconds > 0
    view = farm.queue()
    interactive = view.classes[0]
    assert (interactive.held, interactive.queued, interactive.running, interactive.started) == (1, 7, 1, 1)
    assert interactive.oldest_seconds > 0
    assert {row.build_class: row.share for row in view.classes if row.share} == {interactive.build_class: 1.0}
    tenants = {row.tenant: row for row in view.tenants}
    assert (tenants["t"].held, tenants["t"].queued, tenants["t"].share) == (1, 4, 1.0)
    assert set(tenants) == {"t", "u-0", "u-1", "u-2"}


def test_members_of_a_group_share_the_events_out(farm):
    farm.events.join("orchestrator")
    farm.events.join("orchestrator")
    builds = {farm.submit(request(app)).id for app in "abcd"}
    one = farm.events.take("orchestrator", "one", limit=2)
    two = farm.events.take("orchestrator", "two", wait_seconds=1)
    assert {event.build for event in [*one, *two]} == builds
    assert not {event.build for event in one} & {event.build for event in two}
    farm.events.done("orchestrator", two)
    # A member that died left its events behind.
    assert farm.events.abandoned("orchestrator", "two", idle_seconds=0) == one
    farm.events.done("orchestrator", one)
    assert farm.events.abandoned("orchestrator", "two", idle_seconds=0) == []


def test_waiting_ends_with_its_time(farm):
    build = farm.submit(request())
    assert farm.wait(build.id, timeout_seconds=0.05).state is State.QUEUED


def containers_of(build):
    ask = ["docker", "ps", "--all", "--quiet", "--filter", f"name=buildfarm-{build.id}"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()


def test_the_newest_ends_the_running_build_within_two_seconds(built, tmp_path):
    write_files(tmp_path, {"package.json": json.dumps({"scripts": {"build": "sleep 300"}})})
    source, _ = built.farm.pack(tmp_path, built.tenant)
    fields = {"tenant": built.tenant, "app": "pushed", "source": source}
    older = built.farm.submit(BuildRequest(**fields))
    wait_for(lambda: "sleep 300" in built.log(older), 60)
    assert containers_of(older)
    started = time.monotonic()
    newer = built.farm.submit(BuildRequest(**fields, run_policy="latest_always"))
    ended = built.farm.wait(older.id, timeout_seconds=60)
    wait_for(lambda: not containers_of(older), 60)
    took = time.monotonic() - started
    assert (ended.state, ended.superseded_by) == (State.SUPERSEDED, newer.id)
    assert took <= promised(2)
    built.farm.cancel(newer.id)
    assert built.ended(newer.id).state is State.CANCELLED
