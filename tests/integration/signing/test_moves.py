"""A move to another base is signed with few requests to the registry, and with nothing but what its digest proves."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from buildfarm.releases.signing.requests import SignRequests
from tests.integration.signing.conftest import SECOND, TARGET, make_base
from tests.integration.signing.test_signer import is_signed

JUNK = [b"{}", b"[]", b"not json", b'{"mediaType": "application/vnd.oci.image.manifest.v1+json"}']


@pytest.fixture
def moved(farm, publishing, work, fake):
    """The image of a signed app on another base; it waits for the signer."""
    publishing.handed_over()
    work.turn()
    second = make_base(farm, SECOND)
    farm.promote_builder(second)
    image = farm.rebase("t", "a").image
    work.images._known(second, work.images.read(TARGET, image))  # as after the first app of a rollout
    fake.log.clear()
    return image


def documents(farm):
    return farm.database.key("signing:documents", TARGET)


def fetched(fake):
    """The manifests of the app that were read, but for those that are attached to images."""
    return [line for line in fake.log if line.startswith(f"GET /v2/{TARGET}/manifests/sha256:")]


def test_no_document_of_a_move_is_fetched(farm, moved, work, fake, key):
    assert work.turn()
    assert fetched(fake) == []
    assert is_signed(farm, key, moved)
    assert not farm.database.client.exists(documents(farm))


def test_without_its_documents_a_move_is_signed_too(farm, moved, work, fake, key):
    farm.database.client.delete(documents(farm))  # an older process asked, or too many requests wait
    assert work.turn()
    assert fetched(fake) != []
    assert is_signed(farm, key, moved)


@pytest.mark.parametrize("junk", JUNK)
def test_other_documents_change_nothing(farm, moved, work, key, junk):
    farm.database.client.delete(documents(farm))
    work.requests.ask(TARGET, [junk])
    assert work.turn()
    assert is_signed(farm, key, moved)
    assert work.requests.refused() == 0


def test_of_many_requests_that_wait_only_the_first_have_their_documents(farm, moved, work):
    farm.database.client.delete(documents(farm))
    farm.database.client.zadd(farm.database.key("signing"), {f"apps/t/{n}": 2e9 for n in range(200)})
    work.requests.ask(TARGET, [b"{}"])
    assert not farm.database.client.exists(documents(farm))
    farm.database.client.zremrangebyrank(farm.database.key("signing"), -1, -1)
    work.requests.ask(TARGET, [b"{}"])
    assert 0 < farm.database.client.ttl(documents(farm)) <= 60


def test_wake_ups_that_are_left_go_when_nothing_is_due(farm, moved, work):
    for _ in range(5):
        work.requests.ask(TARGET)
    assert work.turn()
    assert not work.turn()
    assert not farm.database.client.exists(farm.database.key("signing:calls"))
    work.requests.ask(TARGET)
    assert farm.database.client.llen(farm.database.key("signing:calls")) == 1


def test_a_request_that_is_renewed_while_it_is_settled_does_not_come_again(farm, moved, work, monkeypatch):
    renew, settling = SignRequests.renew, []

    def renew_and_settle(requests, request):
        renewed = renew(requests, request)
        settling[0].start()
        settling[0].join(0.5)  # it must wait until the claim is the renewed one
        return renewed

    monkeypatch.setattr(SignRequests, "renew", renew_and_settle)
    with work.claims.next() as claim:
        settling.append(threading.Thread(target=partial(work.claims.settle, claim, refused=False)))
        work.claims.renew()
        settling[0].join()
    assert farm.database.client.zcard(farm.database.key("signing")) == 0
