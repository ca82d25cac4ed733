"""What a node that lies can get signed, and what an operator has chosen: images that tags are to point to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from buildfarm.errors import RequestError
from buildfarm.gc.rollback import ImagesBefore
from buildfarm.model import Build, Failure, Fault, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures import simple
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.store import Records, Tags
from signer.beginning import begin
from signer.process import _prepare
from tests.integration.signing.conftest import SECOND, TARGET, due_again, make_base
from tests.integration.signing.test_signer import is_signed

THIRD = "2026-01-03T00:00:00Z"
FAILURE = Failure(code="farm.node", fault=Fault.FARM, phase=None, message="m")
VICTIM = "apps/t/victim"


def signed(publishing, work, **image):
    """A build of t/a that was signed, and has the tag."""
    lease, result = publishing.handed_over(**image)
    assert work.turn()
    return lease, result


def has_signature(farm, repository, digest):
    return farm.registry.has_manifest(repository, simple.tag_of(Digest(digest)))


def point(farm, target, digest):
    """As any script that a node calls may do it."""
    Tags(farm.database).point(target, str(digest), "")


@pytest.mark.parametrize("how", ["point", "publish"])
def test_the_image_of_another_app_gets_no_signature_however_the_record_came_to_name_it(farm, publishing, work, how):
    lease = publishing.claimed()
    result = publishing.result(lease, repository=VICTIM, title="t/victim")
    if how == "publish":
        publishing.leases.publish(lease, VICTIM, result)
        publishing.leases.succeed(lease, result)
    else:
        point(farm, VICTIM, result.digest)
    work.requests.ask(VICTIM)
    assert work.turn()
    assert not has_signature(farm, VICTIM, result.digest)
    assert farm.records.tag_target(VICTIM) == ""  # the tag points to nothing, and so does the record again
    assert work.requests.refused() == 1
    assert not work.turn()


def test_an_image_that_no_build_made_is_refused_and_the_record_names_the_tags_image_again(farm, publishing, work):
    _, good = signed(publishing, work)
    other = publishing.image(code="9", repository=TARGET, title="t/a", revision="a" * 64)
    point(farm, TARGET, other)
    work.requests.ask(TARGET)
    work.turn()
    assert not has_signature(farm, TARGET, other)
    assert publishing.tag() == good.digest == farm.records.tag_target(TARGET)


def test_the_image_of_a_build_that_succeeded_without_the_signer_is_signed(farm, publishing, work, key):
    lease = publishing.claimed()
    result = publishing.result(lease)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    work.requests.ask(TARGET)
    work.turn()
    assert is_signed(farm, key, result.digest)
    assert publishing.tag() == result.digest


def test_another_source_is_refused_also_if_it_is_published_without_the_signer(farm, publishing, work):
    lease = publishing.claimed()
    result = publishing.result(lease, revision="b" * 64)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    work.requests.ask(TARGET)
    work.turn()
    assert not has_signature(farm, TARGET, result.digest)


def test_a_build_that_is_handed_over_for_another_target_is_refused(farm, publishing, work):
    lease = publishing.claimed()
    result = publishing.result(lease)
    work.requests.hand_over(lease, VICTIM, result)
    work.turn()
    assert farm.get(lease.build_id).failure.code == "farm.unsignable"
    assert farm.records.tag_target(VICTIM) == ""
    assert not has_signature(farm, TARGET, result.digest)


def test_a_refused_build_is_built_again_until_its_attempts_are_used_up(farm, publishing, requests):
    lease, _ = publishing.handed_over(title="t/other")
    request = requests.claim()
    assert requests.refuse(request, FAILURE, 2) == State.QUEUED
    assert farm.database.client.zcard(farm.database.key("signing")) == 0
    again = publishing.leases.claim(lease.build_id, "m")
    assert again.attempt == 2
    requests.hand_over(again, TARGET, publishing.result(again))
    assert requests.refuse(requests.claim(), FAILURE, 2) == State.FAILED


def test_an_app_is_moved_to_a_base_that_an_operator_names(farm, publishing, work, key):
    signed(publishing, work)
    other = make_base(farm, SECOND)
    moved = farm.rebase("t", "a", base=other)
    assert moved.moved
    work.turn()
    assert publishing.tag() == moved.image
    assert is_signed(farm, key, moved.image)


def test_a_move_that_a_node_invents_is_composed_again_and_refused(farm, publishing, work):
    _, good = signed(publishing, work)
    second = make_base(farm, SECOND)
    farm.promote_builder(second)
    true = farm.rebase("t", "a")
    point(farm, TARGET, good.digest)  # as before the move
    forged = publishing.image(code="9", repository=TARGET, title="t/a", revision="a" * 64, base=second)
    Rebases(farm.database).move(TARGET, true.model_copy(update={"image": forged}))
    work.requests.ask(TARGET)
    for _ in range(2):
        work.turn()
    assert not has_signature(farm, TARGET, forged)
    assert farm.records.tag_target(TARGET) == good.digest


def test_a_move_to_a_base_that_no_operator_chose_is_refused(farm, publishing, work):
    _, good = signed(publishing, work)
    foreign = make_base(farm, THIRD)
    moved = farm.rebase("t", "a", base=foreign)
    farm.database.client.zrem(farm.database.key("bases"), foreign)
    work.turn()
    assert not has_signature(farm, TARGET, moved.image)
    assert publishing.tag() == good.digest == farm.records.tag_target(TARGET)


def test_a_build_on_the_base_of_a_rollout_is_signed_after_its_abort(farm, publishing, work):
    base = make_base(farm, SECOND)
    farm.plan_rollout(base)
    lease, _ = publishing.handed_over(base=base)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED


def test_a_build_on_the_base_of_a_channel_that_was_removed_is_signed(farm, publishing, work):
    base = make_base(farm, SECOND)
    farm.set_channel("next", base)
    farm.remove_channel("next")
    lease, _ = publishing.handed_over(base=base)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED


def test_a_signer_that_repeats_a_step_does_not_take_a_move_back(farm, publishing, work, requests):
    publishing.handed_over()
    request = requests.claim()
    requests.signed(request)
    work._sign(work.images.read(TARGET, request.published.digest), TARGET, lambda: None)
    second = make_base(farm, SECOND)
    farm.promote_builder(second)
    moved = farm.rebase("t", "a")
    requests.signed(request)
    assert farm.records.tag_target(TARGET) == moved.image


def test_a_sweeper_that_looked_before_the_hand_over_takes_nothing_back(farm, publishing):
    lease, _ = publishing.handed_over()
    farm.database.client.delete(farm.database.key("swept"))
    leases = publishing.leases
    for _ in range(2):
        leases.sweep()
    assert leases.take_back(lease.build_id, FAILURE) == "stale"
    assert farm.get(lease.build_id).state is State.RUNNING


def test_a_rollback_that_fails_leaves_a_waiting_build_its_turn(farm, publishing, work, monkeypatch):
    first, _ = signed(publishing, work)
    _, newest = publishing.handed_over(code="2")
    with monkeypatch.context() as patch:
        patch.setattr("buildfarm.gc.rollback.AppTags.move", _gone)
        with pytest.raises(RequestError):
            farm.roll_back(first.build_id)
    work.turn()
    assert publishing.tag() == newest.digest


def _gone(*_, **__):
    raise NotInRegistryError("gone")


def test_an_unsigned_image_whose_record_is_gone_cannot_be_rolled_back_to(farm, publishing, work):
    lease = publishing.claimed()
    result = publishing.result(lease, code="7")
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    build = farm.get(lease.build_id)
    signed(publishing, work)
    farm.database.client.delete(farm.database.key("build", build.id))
    with pytest.raises(RequestError, match="has no signature"):
        ImagesBefore(Archive(farm.records, build), lambda: farm.registry, signing=True).restore(build.id, "")


@pytest.mark.parametrize("is_known", [True, False])
def test_a_rollback_to_an_unsigned_image_on_an_unknown_base_is_refused_at_once(farm, publishing, work, is_known):
    lease, other = publishing.claimed(), make_base(farm, SECOND)
    result = publishing.result(lease, code="7", base=other)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    _, newest = signed(publishing, work)
    if is_known:
        KnownBases(farm.database).add(other)
        assert farm.roll_back(lease.build_id).unsigned
        return
    with pytest.raises(RequestError, match="its base is not one that an operator chose"):
        farm.roll_back(lease.build_id)
    assert publishing.tag() == newest.digest == farm.records.tag_target(TARGET)


@dataclass(frozen=True)
class Archive:
    """Has one build that Redis has no more."""

    records: Records
    build: Build

    def get(self, build_id):
        return self.build


def test_images_from_before_signing_are_signed_as_they_are_and_so_are_their_moves(farm, publishing, work, key):
    old = publishing.image(code="5", repository=TARGET, title="", revision="")
    point(farm, TARGET, old)
    begin(farm, work.logger)
    assert Adopted(farm.database).has(TARGET, old)
    second = make_base(farm, SECOND)
    farm.promote_builder(second)
    moved = farm.rebase("t", "a")
    work.turn()
    assert publishing.tag() == moved.image
    assert is_signed(farm, key, moved.image)
    later = publishing.image(code="6", repository=TARGET, title="t/a", revision="a" * 64)
    point(farm, TARGET, later)
    begin(farm, work.logger)  # a second signer takes over nothing
    assert not Adopted(farm.database).has(TARGET, later)


def test_the_bases_of_before_are_known_to_the_first_signer(farm, publishing, work):
    farm.database.client.delete(farm.database.key("bases"))
    begin(farm, work.logger)
    assert KnownBases(farm.database).has(publishing.base)


def test_a_claim_is_renewed_while_its_request_is_done(farm, publishing, work):
    publishing.handed_over()
    name = farm.database.key("signing")
    with work.claims.next() as claim:
        [(member, before)] = farm.database.client.zrange(name, 0, -1, withscores=True)
        farm.database.client.zadd(name, {member: 1})
        work.claims.renew()
        assert farm.database.client.zscore(name, member) >= before
        due_again(farm)
        other = work.requests.claim()
        assert work.requests.renew(claim.request) is None
        assert work.requests.renew(other) is other


def test_a_targets_claim_is_renewed_too(farm, publishing, work):
    work.requests.ask(TARGET)
    with work.claims.next() as claim:
        before = claim.request.score
        work.claims.renew()
        assert float(claim.request.score) >= float(before)
        work.requests.settled(claim.request)
    assert work.requests.waiting()[0] == 0


@pytest.mark.parametrize("at", ["signatures", "index"])
def test_what_others_left_at_the_tags_of_signatures_does_not_keep_a_build_from_its_end(farm, publishing, work, key, at):
    lease = publishing.claimed()
    result = publishing.result(lease)
    tag = f"sha256-{result.digest.hex}" + (".sig" if at == "signatures" else "")
    media_type, content, _ = farm.registry.get_manifest(TARGET, result.digest)
    farm.registry.put_manifest(TARGET, content, media_type, tag=tag)
    work.requests.hand_over(lease, TARGET, result)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED
    assert is_signed(farm, key, result.digest)


def test_a_bug_of_the_signer_gives_the_build_up_after_a_while(farm, publishing, work, monkeypatch):
    lease, _ = publishing.handed_over()
    monkeypatch.setattr("signer.work._BUGS_MAX", 2)
    monkeypatch.setattr(type(work.attaching), "sign", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        work.turn()
    due_again(farm)
    work.turn()
    assert farm.get(lease.build_id).state is State.FAILED


def test_the_builder_of_the_settings_stays_known_when_another_is_promoted(farm, publishing, work):
    farm.database.client.delete(farm.database.key("bases"), farm.database.key("promoted"))
    own = make_base(farm, SECOND)
    before = replace(farm, settings=farm.settings.model_copy(update={"builder": own}))
    before.promote_builder(publishing.base)
    assert KnownBases(farm.database).has(own)


def test_a_signer_keeps_the_builder_of_its_settings_as_known(farm, publishing, work):
    own = make_base(farm, SECOND)
    _prepare(replace(farm, settings=farm.settings.model_copy(update={"builder": own})), work.logger)
    lease, _ = publishing.handed_over(base=own)  # the settings of this signer name another one
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED


def test_the_first_signer_knows_the_bases_of_the_builds_that_are_there(farm, publishing, work):
    lease = publishing.claimed()
    other = make_base(farm, SECOND)
    farm.database.client.hset(farm.database.key("build", lease.build_id), "base", f"1 stable {other}")
    begin(farm, work.logger)
    assert KnownBases(farm.database).has(other)


def test_a_base_that_a_node_made_the_channels_is_not_known_once_an_operator_corrects_it(farm, publishing):
    evil = make_base(farm, THIRD)
    farm.database.client.set(farm.database.key("promoted"), evil)  # as rollout.lua does for a node
    farm.plan_rollout(make_base(farm, SECOND))
    farm.promote_builder(publishing.base)
    assert not KnownBases(farm.database).has(evil)
