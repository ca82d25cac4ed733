"""A build's way through the signer: signed before its tag moves, whatever dies on the way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from buildfarm.errors import LeaseLost, RegistryError, SignatureError, TooLateError
from buildfarm.model import Failure, Fault, Phase, State
from buildfarm.oci.signatures import checking
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.signer import FileSigner, new_key
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.telemetry import logger
from signer.work import Work
from testkit.builds import wait_for
from testkit.queue.signing import make_key, signer_process
from tests.integration.signing.conftest import SECOND, TARGET, due_again, make_base
from workers.upkeep.tag_repair import TagRepair

FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")


def is_signed(farm, key, digest):
    try:
        return checking.verify(farm.registry, TARGET, digest, [key.public_key]).forms == ("tag", "bundle")
    except SignatureError:
        return False


def test_a_published_build_is_signed_and_then_its_tag_moves(farm, publishing, work, key):
    lease, result = publishing.handed_over()
    waiting = farm.get(lease.build_id)
    assert (waiting.state, waiting.phase) == (State.RUNNING, Phase.PUBLISH)
    assert publishing.tag() == "" == farm.records.tag_target(TARGET)
    assert work.turn()
    ended = farm.get(lease.build_id)
    assert (ended.state, ended.attempt, ended.result.digest) == (State.SUCCEEDED, 1, result.digest)
    assert publishing.tag() == result.digest == farm.records.tag_target(TARGET)
    assert is_signed(farm, key, result.digest)
    assert ended.result.phase_seconds[Phase.PUBLISH] >= 0
    assert not work.turn()


def test_a_waiting_build_has_no_lease_and_its_node_can_write_nothing_more(farm, publishing, requests):
    lease, result = publishing.handed_over()
    assert farm.database.client.zcard(farm.database.key("leases")) == 0
    requests.hand_over(lease, TARGET, result)  # sent twice
    assert farm.database.client.zcard(farm.database.key("signing")) == 1
    leases = publishing.leases
    for write in (
        lambda: leases.renew(lease),
        lambda: leases.publish(lease, TARGET, result),
        lambda: leases.succeed(lease, result),
        lambda: leases.fail(lease, FAILURE),
        lambda: farm.log_streams.append(lease, Phase.PUBLISH, ["late"], 1),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert leases.give_back(lease, FAILURE) == "stale"
    leases.sweep()
    assert leases.take_back(lease.build_id, FAILURE) == "stale"
    assert farm.get(lease.build_id).state is State.RUNNING


def test_an_old_attempt_gets_no_signature(farm, publishing, requests, work):
    old = publishing.claimed()
    publishing.leases.give_back(old, FAILURE)
    publishing.leases.claim(old.build_id, "m")
    with pytest.raises(LeaseLost):
        requests.hand_over(old, TARGET, publishing.result(old))
    assert not work.turn()


def test_a_build_that_waits_for_the_signer_cannot_be_cancelled(farm, publishing, work):
    lease, _ = publishing.handed_over()
    with pytest.raises(TooLateError):
        farm.cancel(lease.build_id)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED


@pytest.mark.parametrize(
    "image",
    [
        {"title": "t/other"},
        {"title": "other/a"},
        {"revision": "b" * 64},
        {"repository": "apps/t/other", "title": "t/other"},
        {"repository": "apps/other/a"},
    ],
    ids=["other-app", "other-tenant", "other-source", "other-repository", "other-tenants-repository"],
)
def test_the_image_of_another_app_tenant_or_source_fails_the_build(farm, publishing, work, key, image):
    lease, result = publishing.handed_over(**image)
    work.turn()
    ended = farm.get(lease.build_id)
    assert (ended.state, ended.failure.code, ended.failure.fault) == (State.FAILED, "farm.unsignable", Fault.FARM)
    assert publishing.tag() == "" == farm.records.tag_target(TARGET)
    assert not farm.registry.has_manifest(result.repository, f"sha256-{result.digest.hex}.sig")
    assert not work.turn()


def test_a_base_that_no_channel_has_gets_no_signature(farm, publishing, work):
    lease, _ = publishing.handed_over(base=make_base(farm, SECOND))
    work.turn()
    assert farm.get(lease.build_id).failure.code == "farm.unsignable"


def test_labels_of_a_known_base_over_other_layers_get_no_signature(farm, publishing, work, monkeypatch):
    other = make_base(farm, SECOND)
    name = "buildfarm.releases.compose.labels_on"
    claimed = publishing.base.partition("@")[2]
    from buildfarm.releases import compose

    true_labels = compose.labels_on
    told = {"org.opencontainers.image.base.digest": claimed}
    monkeypatch.setattr(name, lambda *a: {**true_labels(*a), **told})  # as a lying node would
    true_names = compose.base_names
    monkeypatch.setattr("buildfarm.releases.compose.base_names", lambda *a: {**true_names(*a), **told})
    lease, _ = publishing.handed_over(base=other)
    work.turn()
    assert "lowest layers" in farm.get(lease.build_id).failure.message


def test_a_signer_that_dies_after_its_signatures_leaves_the_rest_to_another(farm, publishing, work, key, monkeypatch):
    lease, result = publishing.handed_over()
    with monkeypatch.context() as patch:
        patch.setattr(AppTags, "move", lambda *_, **__: (_ for _ in ()).throw(RegistryError("gone")))
        with pytest.raises(RegistryError):
            work.turn()
    assert is_signed(farm, key, result.digest)
    assert (publishing.tag(), farm.get(lease.build_id).state) == ("", State.RUNNING)
    assert not work.turn()  # it is claimed
    due_again(farm)
    assert work.turn()
    assert (publishing.tag(), farm.get(lease.build_id).state) == (result.digest, State.SUCCEEDED)


def test_a_signer_that_was_overtaken_ends_nothing(farm, publishing, requests, work):
    publishing.handed_over()
    late = requests.claim()
    due_again(farm)
    assert work.turn()
    for write in (
        lambda: requests.signed(late),
        lambda: requests.refuse(late, FAILURE, 3),
        lambda: requests.end(late, late.published),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert farm.get(late.build.id).state is State.SUCCEEDED


def test_of_two_builds_the_one_published_last_has_the_tag_whichever_is_signed_first(farm, publishing, work, requests):
    farm.admission.set_limits("t", "a", {"running": 2})
    farm.admission.set_limits("t", None, {"running": 2})
    first, second = publishing.claimed(run_policy="all"), publishing.claimed(run_policy="all")
    publishing.handed_over(first, code="1")
    early = requests.claim()  # by a signer that hangs
    _, newest = publishing.handed_over(second, code="2")
    work.turn()
    assert publishing.tag() == newest.digest
    due_again(farm)
    assert early is not None
    work.turn()
    assert farm.get(first.build_id).state is State.SUCCEEDED
    assert publishing.tag() == newest.digest == farm.records.tag_target(TARGET)


def test_no_tag_moves_to_an_image_without_a_signature(farm, publishing, work, key):
    lease = publishing.claimed()
    digest = publishing.result(lease).digest
    publishing.leases.publish(lease, TARGET, publishing.result(lease))  # as a node without signing does
    assert not AppTags(farm.registry, farm.records, signing=True).move(TARGET)
    assert publishing.tag() == ""
    work.turn()  # it was asked to sign it
    assert publishing.tag() == digest
    assert is_signed(farm, key, digest)
    assert not work.turn()


def test_a_node_that_looks_after_tags_moves_none_to_an_unsigned_image(farm, publishing):
    digest = publishing.image(code="1", repository=TARGET, title="t/a", revision="a" * 64)
    farm.database.client.hset(farm.database.key("tags"), TARGET, digest)
    farm.database.client.zadd(farm.database.key("unsettled"), {TARGET: 0})
    TagRepair(farm.records, farm.registry, logger(), signing=True).repair()
    assert publishing.tag() == ""


def test_a_move_to_another_base_is_signed_before_the_tag_moves(farm, publishing, work, key):
    publishing.handed_over()
    work.turn()
    second = make_base(farm, SECOND)
    farm.promote_builder(second)
    moved = farm.rebase("t", "a")
    assert publishing.tag() != moved.image
    work.turn()
    assert publishing.tag() == moved.image
    assert is_signed(farm, key, moved.image)


def test_a_rollback_while_a_build_waits_keeps_the_tag(farm, publishing, work):
    first, good = publishing.handed_over(code="1")
    work.turn()
    publishing.handed_over(code="2")
    farm.roll_back(first.build_id)
    work.turn()
    assert publishing.tag() == good.digest == farm.records.tag_target(TARGET)


def test_with_two_keys_either_is_enough(farm, publishing, key, tmp_path):
    (tmp_path / "other.key").write_bytes(new_key())
    other = FileSigner.load(tmp_path / "other.key")
    _, result = publishing.handed_over()
    Work.of(farm, Attaching(farm.registry, [other, key]), logger()).turn()
    assert is_signed(farm, key, result.digest)
    assert is_signed(farm, other, result.digest)


def test_how_many_requests_wait_and_since_when_is_known(publishing, requests, work):
    assert requests.waiting() == (0, 0.0)
    publishing.handed_over()
    count, seconds = requests.waiting()
    assert count == 1
    assert 0 <= seconds < 60
    work.turn()
    assert requests.waiting() == (0, 0.0)


def test_a_request_wakes_the_signer_at_once(publishing, requests, farm):
    publishing.handed_over()
    assert farm.database.client.llen(farm.database.key("signing:calls")) == 1
    requests.wait()
    assert farm.database.client.llen(farm.database.key("signing:calls")) == 0


def test_an_announced_image_is_prepared_for_and_its_request_comes_first(publishing, requests, work, fake):
    requests.announce(TARGET)
    _, result = publishing.handed_over()
    assert requests.wait() == ""  # the request's wake-up
    assert requests.wait() == TARGET
    work.prepare(TARGET)
    wait_for(lambda: len(fake.uploads) == 3, 5)  # for the signatures, and two bundles
    assert work.turn()
    assert publishing.tag() == result.digest
    wait_for(lambda: not fake.uploads, 5)


def test_a_signer_process_prepares_for_what_is_announced(farm, publishing, requests, fake, tmp_path):
    """It may take longer to start than an announcement is kept."""
    with signer_process(farm, [make_key(tmp_path)]) as process:
        wait_for(lambda: requests.announce(TARGET) or fake.uploads or process.poll() is not None, 60)
        assert process.poll() is None


@pytest.mark.parametrize("name", ["../x", "a" * 300, ""])
def test_whatever_a_node_announces_ends_no_signer(requests, work, fake, name):
    requests.announce(name)
    work.prepare(requests.wait())
    assert work.attaching._ahead._expected == {}
    assert not fake.uploads


def test_announcements_are_bounded_and_expire(farm, requests):
    for number in range(60):
        requests.announce(f"apps/t/a{number}")
    requests.announce("a" * 256)
    client, name = farm.database.client, farm.database.key("signing:soon")
    assert client.llen(name) == 50
    assert 0 < client.ttl(name) <= 10
    assert requests.wait() == "apps/t/a59"  # the newest
    assert requests.wait() == "apps/t/a58"


@pytest.mark.parametrize("entry", ["{old} " + TARGET, TARGET, b"\xff " + TARGET.encode(), "x y"])
def test_announcements_that_are_old_or_unreadable_are_passed_over(farm, requests, entry):
    client, name = farm.database.client, farm.database.key("signing:soon")
    old = client.time()[0] - 11
    client.lpush(name, entry if isinstance(entry, bytes) else entry.format(old=old))
    assert requests.wait() == ""
    assert client.llen(name) == 0


def test_bad_announcements_are_logged_once_a_minute(work):
    now, seen = [1000.0], []
    found = replace(work, clock=lambda: now[0], logger=SimpleNamespace(info=lambda *_, **fields: seen.append(fields)))
    for at in (1000.0, 1059.0, 1060.0, 1061.0):
        now[0] = at
        found.prepare(f"../{at}")
    assert [fields["repository"] for fields in seen] == ["../1000.0", "../1060.0"]


def test_the_digest_of_a_waiting_image_is_in_use(farm, publishing):
    _, result = publishing.handed_over()
    assert str(result.digest) in farm.records.digests()


def test_requests_without_a_wake_up_are_found(farm, publishing, work):
    publishing.handed_over()
    farm.database.client.delete(farm.database.key("signing:calls"))
    assert work.turn()


def test_an_unreachable_registry_puts_the_request_off(farm, publishing, work, fake):
    lease, _ = publishing.handed_over()
    refused = SignRequests(farm.admission)
    fake.faults.extend([("GET", 503)] * 30)
    with pytest.raises(RegistryError):
        work.turn()
    assert farm.get(lease.build_id).state is State.RUNNING
    assert refused.waiting()[0] == 1
    fake.faults.clear()
    due_again(farm)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED
