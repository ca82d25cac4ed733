"""A move to another base is signed with few requests to the registry, and with nothing but what its digest proves."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest

from buildfarm.errors import NotRebasableError
from buildfarm.oci.digest import Digest
from buildfarm.releases import rebase
from buildfarm.releases.labels import BASE_NAME
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.store import Tags
from tests.integration.signing.conftest import SECOND, TARGET, make_base
from tests.integration.signing.test_signer import is_signed

THIRD = "2026-01-03T00:00:00Z"  # when a base was made, after the second
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


def test_without_signing_the_tag_moves_with_no_document_fetched(farm, moved, work, fake):
    assert work.turn()
    rebaser = rebase.Rebaser(farm.registry, farm.records)
    base = rebaser.base(*make_base(farm, THIRD).split("@"))
    fake.log.clear()
    image = rebaser.rebase("t", "a", base, dry_run=False, older=False).image
    assert fake.repository(TARGET).manifests["latest"][1] == fake.repository(TARGET).manifests[image][1]
    assert not [line for line in fetched(fake) if image in line]


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


def test_a_move_whose_layers_are_gone_is_refused_at_once(farm, moved, work, fake):
    before = fake.repository(TARGET).manifests["latest"]
    here = fake.repository(TARGET)
    [here.blobs.pop(str(layer.digest)) for layer in work.images.read(TARGET, moved).manifest.layers]
    del here.manifests[moved]
    assert work.turn()
    assert work.requests.refused() == 1
    assert farm.records.tag_target(TARGET) != moved
    assert here.manifests["latest"] == before
    assert not work.turn()


def test_documents_of_another_image_replace_none(farm, moved, work):
    known = farm.database.client.get(documents(farm))
    AppTags(farm.registry, farm.records, signing=True).move(TARGET, sent={str(Digest.of(b"{}")): ("", b"{}")})
    assert farm.database.client.get(documents(farm)) == known


def test_documents_that_are_too_long_as_json_are_left_out(farm, moved, work):
    farm.database.client.delete(documents(farm))
    work.requests.ask(TARGET, [b'"' * 100_000])
    assert not farm.database.client.exists(documents(farm))


def test_a_claim_that_has_ended_is_not_renewed(farm, moved, work):
    with work.claims.next() as claim:
        pass
    work.claims._held.append(claim)  # as in the list that the thread that renews has copied before
    before = claim.request
    work.claims.renew()
    assert claim.request is before


@pytest.fixture
def pushed(farm, moved, work):
    """``pushed(annotations)`` is the app's image, with these besides its own, as a node can hand it over."""

    def push(annotations):
        assert work.turn()
        media_type, content, digest = farm.registry.get_manifest(TARGET, moved)
        fields = json.loads(content)
        fields["annotations"] |= annotations
        odd = farm.registry.put_manifest(TARGET, json.dumps(fields).encode(), media_type, tag=None)
        assert Tags(farm.database).point(TARGET, odd, digest)
        farm.promote_builder(make_base(farm, THIRD))
        return odd

    return push


def test_an_image_that_cannot_be_written_as_json_again_moves(farm, moved, pushed):
    odd = pushed({"x": "\ud800"})
    assert farm.rebase("t", "a").image not in (odd, moved)


def test_an_image_that_names_no_base_that_can_be_read_is_not_movable(farm, pushed):
    pushed({BASE_NAME: "host/\ud800:stable"})
    with pytest.raises(NotRebasableError, match="cannot be read"):
        farm.rebase("t", "a")


def test_a_release_that_cannot_be_composed_is_not_movable(farm, pushed, monkeypatch):
    def fail(*_):
        "\ud800".encode()

    pushed({})
    monkeypatch.setattr(rebase, "compose", fail)
    with pytest.raises(NotRebasableError, match="cannot be read"):
        farm.rebase("t", "a")
