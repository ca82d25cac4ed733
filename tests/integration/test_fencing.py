"""Writes that come twice, late, or from a holder whose claim was lost; and when a lease may be taken back."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from buildfarm.errors import LeaseLost, TooLateError, UnconfirmedError
from buildfarm.model import BuildRequest, BuildResult, Failure, Fault, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases, Tags, Unclaimed
from buildfarm.telemetry import logger
from testkit.builds import promised
from tests.integration.lost_writes import go_back, remember
from workers.upkeep.tag_repair import TagRepair, open_registry

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
OLD_RENEW = """
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if record[1] ~= 'running' or record[2] ~= ARGV[2] then return 'lost' end
return 'held'
"""


def request(app="a", tenant="t", **fields):
    return BuildRequest(tenant=tenant, app=app, source=SOURCE, **fields)


def result(app="a", digest="sha256:" + "c" * 64, tenant="t"):
    return BuildResult(
        repository=f"apps/{tenant}/{app}", digest=Digest(digest), tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds={}, node="n", attempt=1,
    )  # fmt: skip


LEASE_SECONDS = 60  # longer than a busy machine holds a test up


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, LEASE_SECONDS, 3)


def swept_long_ago(farm):
    """As after many sweeps: what has ended may be taken back."""
    Leases(farm.admission, 0, 3).sweep()


def lapse(farm, build):
    farm.database.client.zadd(farm.database.key("leases"), {build.id: 0}, xx=True)


def test_the_same_claim_sent_twice_gets_the_same_answer_and_costs_one_attempt(farm, leases):
    build = farm.submit(request())
    first, again = (leases.claim(build.id, "n", "word") for _ in range(2))
    assert first == again
    assert (first.attempt, farm.get(build.id).attempt) == (1, 1)
    assert [event.state for event in farm.events.read("0")] == [State.QUEUED, State.RUNNING]
    assert leases.claim(build.id, "m", "another") == Unclaimed("running")
    assert leases.give_back(first, FAILURE) == State.QUEUED
    assert leases.claim(build.id, "n", "word") == Unclaimed("given back")


def test_the_token_is_in_no_view_of_the_build(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    assert len(lease.token) == 32
    assert lease.token not in repr(lease) + farm.get(build.id).model_dump_json()


def test_of_two_holders_of_one_attempt_the_first_is_refused_at_its_next_write(farm, leases):
    build = farm.submit(request())
    moment = remember(farm.database)
    lost = leases.claim(build.id, "a")
    go_back(farm.database, moment)
    held = leases.claim(build.id, "b")
    assert (lost.attempt, held.attempt) == (1, 1)
    for write in (
        lambda: leases.renew(lost),
        lambda: farm.log_streams.append(lost, Phase.COMPILE, ["late"], 1),
        lambda: leases.publish(lost, "apps/t/a", result()),
        lambda: leases.succeed(lost, result()),
        lambda: leases.fail(lost, FAILURE),
        lambda: leases.cancel(lost),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert leases.give_back(lost, FAILURE) == "stale"
    leases.succeed(held, result())
    assert farm.get(build.id).state is State.SUCCEEDED


def test_a_batch_of_lines_sent_twice_is_taken_once_in_each_attempt(farm, leases):
    build = farm.submit(request())
    for attempt in (1, 2):
        lease = leases.claim(build.id, "n")
        for _ in range(2):
            farm.log_streams.append(lease, Phase.COMPILE, ["one", "two"], 1)
        assert len(farm.log_streams.read(build.id)) == 2 * attempt
        leases.give_back(lease, FAILURE)


def test_a_node_of_an_older_version_claims_and_writes_without_a_token(farm, leases):
    build = farm.submit(request())
    new = leases.claim(build.id, "new")
    leases.give_back(new, FAILURE)
    # What the claim of the version before wrote.
    key = farm.database.key
    farm.database.client.hset(key("build", build.id), mapping={"state": "running", "attempt": 2, "node": "old"})
    keys = [key("build", build.id), key("leases")]
    assert farm.database.client.eval(OLD_RENEW, 2, *keys, build.id, 2, 6, "") == "held"
    leases.renew(Lease(build.id, 2))
    for other in (new, Lease(build.id, 2, new.token), Lease(build.id, 2, "guess")):
        with pytest.raises(LeaseLost):
            leases.renew(other)


def test_nothing_is_taken_back_for_one_lease_after_a_gap_in_sweeping(farm):
    leases = Leases(farm.admission, 6, 3, 1)
    build = farm.submit(request())
    held = leases.claim(build.id, "n")
    assert leases.sweep() == "begins"  # nobody swept before
    farm.database.client.hset(farm.database.key("swept"), "doubt_until", 0)
    assert leases.sweep() == "clear"
    _shift(farm, "swept", at=-5.5)  # more than lease - renew
    lapse(farm, build)
    assert leases.take_back(build.id, FAILURE) == "stale"
    began = time.monotonic()
    assert leases.sweep() == "begins"
    while leases.sweep() == "doubt":
        leases.renew(held)
        time.sleep(0.1)
    assert 5.8 <= time.monotonic() - began <= promised(6)
    assert leases.take_back(build.id, FAILURE) == "stale"  # it was renewed
    lapse(farm, build)
    assert leases.take_back(build.id, FAILURE) == State.QUEUED


def test_another_sweeper_is_no_gap(farm, leases):
    swept_long_ago(farm)
    _shift(farm, "swept", at=-40)  # a leader that died, and the next one
    assert leases.sweep() == "clear"


def test_another_process_of_redis_begins_doubt(farm, leases):
    swept_long_ago(farm)
    assert leases.sweep() == "clear"
    farm.database.client.hset(farm.database.key("swept"), "run_id", "f" * 40)
    assert leases.sweep() == "begins"
    assert leases.sweep() == "doubt"


def test_a_clock_that_was_set_back_makes_nobody_wait_for_it(farm, leases):
    build = farm.submit(request())
    leases.claim(build.id, "n")
    later = farm.database.now() + 3600
    farm.database.client.hset(farm.database.key("swept"), mapping={"at": later, "doubt_until": later})
    farm.database.client.zadd(farm.database.key("leases"), {build.id: later})
    assert leases.sweep() == "begins"
    now = farm.database.now()
    assert farm.database.client.zscore(farm.database.key("leases"), build.id) <= now + LEASE_SECONDS
    assert float(farm.database.client.hget(farm.database.key("swept"), "doubt_until")) <= now + LEASE_SECONDS


def test_a_clock_that_jumps_ahead_takes_nothing_from_its_holder(farm, leases):
    build = farm.submit(request())
    held = leases.claim(build.id, "n")
    swept_long_ago(farm)
    _shift(farm, "swept", at=-3600)
    lapse(farm, build)
    assert leases.sweep() == "begins"
    assert leases.take_back(build.id, FAILURE) == "stale"
    leases.renew(held)


def test_a_build_that_publishes_cannot_be_cancelled_and_succeeds_whoever_ends_it(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    leases.publish(lease, "apps/t/a", result())
    with pytest.raises(TooLateError, match="can no longer be cancelled"):
        farm.cancel(build.id)
    leases.renew(lease, Phase.EXPORT)  # one that was on its way
    with pytest.raises(TooLateError):
        farm.cancel(build.id)
    swept_long_ago(farm)
    lapse(farm, build)
    assert leases.take_back(build.id, FAILURE) == State.SUCCEEDED
    ended = farm.get(build.id)
    assert (ended.state, ended.result.digest, ended.attempt) == (State.SUCCEEDED, "sha256:" + "c" * 64, 1)
    assert [found.target for found in Tags(farm.database).due(10)] == ["apps/t/a"]


def test_a_newer_build_does_not_end_one_that_publishes(farm, leases):
    older = farm.submit(request())
    lease = leases.claim(older.id, "n")
    leases.publish(lease, "apps/t/a", result())
    newer = farm.submit(request(run_policy="latest_always"))
    leases.renew(lease)
    assert leases.cancel(lease) == State.SUCCEEDED
    assert farm.get(older.id).superseded_by is None
    assert farm.get(newer.id).state is State.QUEUED


def test_a_cancel_that_came_first_ends_the_build_before_it_publishes(farm, leases):
    build = farm.submit(request())
    lease = leases.claim(build.id, "n")
    assert farm.cancel(build.id) is State.RUNNING
    assert leases.give_back(lease, FAILURE) == State.CANCELLED
    assert farm.records.tag_target("apps/t/a") == ""


def _put(farm, repository, text):
    """An image that has one line in its manifest, under its digest alone."""
    blob = farm.registry.put_blob(repository, b"{}")
    layer = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": 2}
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layer,
        "layers": [],
        "annotations": {"a": text},
    }
    return farm.registry.put_manifest(repository, json.dumps(content).encode(), MANIFEST_TYPE, tag=None)


def _tag(farm, repository):
    return str(farm.registry.get_manifest(repository, "latest")[2])


def test_a_tag_that_a_lost_publication_moved_is_moved_back(farm, leases):
    tenant = farm.settings.namespace.strip(":")
    repository = f"apps/{tenant}/a"
    before, lost = (str(_put(farm, repository, text)) for text in ("before", "lost"))
    first = farm.submit(request(tenant=tenant))
    lease = leases.claim(first.id, "n")
    leases.publish(lease, repository, result(tenant=tenant, digest=before))
    leases.succeed(lease, result(tenant=tenant, digest=before))
    second = farm.submit(request(tenant=tenant))
    moment = remember(farm.database)
    lease = leases.claim(second.id, "n")
    leases.publish(lease, repository, result(tenant=tenant, digest=lost))
    farm.registry.move_tag(repository, "latest", lambda: farm.records.tag_target(repository))
    assert _tag(farm, repository) == lost
    go_back(farm.database, moment)
    assert farm.cancel(second.id) is State.QUEUED
    with open_registry(farm.settings) as registry:
        TagRepair(farm.records, registry, logger()).repair()
    assert _tag(farm, repository) == before
    assert list(Tags(farm.database).due(10)) == []
    assert farm.database.client.zcard(farm.database.key("unsettled")) == 0


def test_a_build_that_succeeds_after_its_publication_was_lost_gets_its_tag(farm, leases):
    tenant = farm.settings.namespace.strip(":")
    repository = f"apps/{tenant}/a"
    image = str(_put(farm, repository, "image"))
    build = farm.submit(request(tenant=tenant))
    lease = leases.claim(build.id, "n")
    moment = remember(farm.database)
    leases.publish(lease, repository, result(tenant=tenant, digest=image))
    go_back(farm.database, moment)
    leases.succeed(lease, result(tenant=tenant, digest=image))
    assert farm.records.tag_target(repository) == image
    with open_registry(farm.settings) as registry:
        TagRepair(farm.records, registry, logger()).repair()
    assert _tag(farm, repository) == image


def test_a_tag_is_looked_at_again_if_the_registry_is_absent(farm, leases):
    Tags(farm.database).mark("apps/t/a")
    farm.database.client.hset(farm.database.key("tags"), "apps/t/a", "sha256:" + "d" * 64)
    gone = farm.settings.model_copy(update={"registry_url": "http://127.0.0.1:9"})
    with open_registry(gone) as registry:
        TagRepair(farm.records, registry, logger()).repair()
    score = farm.database.client.zscore(farm.database.key("unsettled"), "apps/t/a")
    assert 20 <= score - farm.database.now() <= 61


def test_without_enough_replicas_a_submit_names_its_build_and_a_claim_is_given_back_uncounted(farm):
    alone = replace(farm.database, replicas_min=1, replica_wait_seconds=0.05)
    admission = replace(farm.admission, database=alone)
    lone = replace(farm, admission=admission, records=replace(farm.records, admission=admission))
    asked = request(idempotency_key="k")
    with pytest.raises(UnconfirmedError) as first:
        lone.submit(asked)
    with pytest.raises(UnconfirmedError, match=first.value.build_id):
        lone.submit(asked)
    assert farm.submit(asked).id == first.value.build_id
    leases = Leases(admission, 6, 3)
    for _ in range(5):  # more than there are attempts
        assert leases.claim(first.value.build_id, "n") == Unclaimed("unconfirmed")
        assert farm.get(first.value.build_id).state is State.QUEUED
    assert Leases(farm.admission, 6, 3).claim(first.value.build_id, "n").attempt == 6


def _shift(farm, name, **fields):
    for field, seconds in fields.items():
        farm.database.client.hincrbyfloat(farm.database.key(name), field, seconds)
