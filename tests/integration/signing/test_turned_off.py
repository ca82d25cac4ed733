"""Builds that wait for a signer when there is none any more, and requests that no signer can read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.api.collector import signing
from buildfarm.errors import LeaseLost, TooLateError
from buildfarm.model import State
from tests.integration.signing.conftest import TARGET, due_again


def left_alone(farm, lease):
    """As if no signer had looked at it for a minute."""
    farm.database.client.zadd(farm.database.key("signing"), {lease.build_id: farm.database.now() - 61})


def test_a_build_whose_signer_is_gone_can_be_cancelled(farm, publishing, work):
    lease, _ = publishing.handed_over()
    with pytest.raises(TooLateError):
        farm.cancel(lease.build_id)
    left_alone(farm, lease)
    farm.cancel(lease.build_id)
    ended = farm.get(lease.build_id)
    assert (ended.state, ended.result) == (State.CANCELLED, None)
    assert farm.database.client.zcard(farm.database.key("signing")) == 0
    assert farm.records.tag_target(TARGET) == ""
    assert not work.turn()
    assert publishing.claimed().attempt == 1  # the tenant has its place again


def test_a_signer_that_comes_back_after_the_cancel_does_nothing_more(farm, publishing, requests):
    lease, result = publishing.handed_over()
    request = requests.claim()
    left_alone(farm, lease)
    farm.cancel(lease.build_id)
    with pytest.raises(LeaseLost):
        requests.signed(request)
    with pytest.raises(LeaseLost):
        requests.end(request, result)
    assert farm.get(lease.build_id).state is State.CANCELLED


def test_a_build_whose_image_is_named_already_is_not_cancelled(farm, publishing, requests):
    lease, _ = publishing.handed_over()
    requests.signed(requests.claim())
    left_alone(farm, lease)
    with pytest.raises(TooLateError):
        farm.cancel(lease.build_id)


def test_what_waits_is_counted_after_signing_was_turned_off_too(farm, publishing):
    off = replace(farm, settings=farm.settings.model_copy(update={"signing": ""}))
    assert next(signing(off)).samples[0].value == 0
    publishing.handed_over()
    assert next(signing(off)).samples[0].value == 1


@pytest.mark.parametrize("documents", ["[1]", "{", "1", '{"a": 1}'])
def test_documents_that_cannot_be_read_count_as_none(farm, publishing, work, documents):
    lease, _ = publishing.handed_over()
    farm.database.client.hset(farm.database.key("build", lease.build_id), "sign_documents", documents)
    work.turn()
    assert farm.get(lease.build_id).state is State.SUCCEEDED


def test_a_result_that_cannot_be_read_is_refused_at_once(farm, publishing, work):
    lease, _ = publishing.handed_over()
    farm.database.client.hset(farm.database.key("build", lease.build_id), "published", "{")
    work.turn()
    ended = farm.get(lease.build_id)
    assert (ended.state, ended.failure.code) == (State.FAILED, "farm.unsignable")


def test_a_target_whose_record_names_no_image_is_put_back(farm, work):
    farm.database.client.hset(farm.database.key("tags"), TARGET, "sha256:no")
    work.requests.ask(TARGET)
    work.turn()
    assert farm.records.tag_target(TARGET) == ""
    assert work.requests.waiting()[0] == 0


def test_a_bug_at_a_target_is_not_tried_for_ever(farm, publishing, work, monkeypatch):
    publishing.handed_over()
    work.turn()
    monkeypatch.setattr("signer.work._BUGS_MAX", 2)
    monkeypatch.setattr(type(work.images), "read", lambda *_: 1 / 0)
    work.requests.ask(TARGET)
    with pytest.raises(ZeroDivisionError):
        work.turn()
    due_again(farm)
    work.turn()
    assert work.requests.waiting()[0] == 0


def test_a_rollback_says_whether_the_tag_waits_for_the_signer(farm, publishing, work):
    lease = publishing.claimed()
    result = publishing.result(lease)
    publishing.leases.publish(lease, TARGET, result)  # as a node without signing does
    publishing.leases.succeed(lease, result)
    assert farm.roll_back(lease.build_id).unsigned
    work.turn()
    assert not farm.roll_back(lease.build_id).unsigned
