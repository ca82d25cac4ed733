"""Images that were published without the signer while one runs are signed after all, if something speaks for them."""

from __future__ import annotations

import pytest

from buildfarm.store import Tags
from signer.unsigned import UnsignedImages
from tests.integration.signing.conftest import TARGET
from tests.integration.signing.test_signer import is_signed


@pytest.fixture
def unsigned(work):
    return UnsignedImages(work)


def published(publishing):
    """As a node with signing off does it."""
    lease = publishing.claimed()
    result = publishing.result(lease)
    publishing.leases.publish(lease, TARGET, result)
    publishing.leases.succeed(lease, result)
    return result


def test_an_image_that_was_published_without_the_signer_is_signed(farm, publishing, work, key, unsigned):
    result = published(publishing)
    assert unsigned.look() == 1
    work.turn()
    assert is_signed(farm, key, result.digest)
    assert UnsignedImages(work).look() == 0


def test_an_image_for_which_nothing_speaks_stays_as_it_is_and_counts_as_no_refusal(farm, publishing, work, unsigned):
    image = publishing.image(code="9", repository=TARGET, title="t/a", revision="a" * 64)
    Tags(farm.database).point(TARGET, str(image), "")
    assert unsigned.look() == 0
    assert not work.turn()
    assert work.requests.refused() == 0
    assert farm.records.tag_target(TARGET) == image


def test_what_waits_already_is_not_asked_for_again(publishing, work, unsigned):
    published(publishing)
    work.requests.ask(TARGET)
    assert unsigned.look() == 0


def test_an_image_is_looked_at_once(farm, publishing, unsigned, fake):
    published(publishing)
    unsigned.look()
    fake.log.clear()
    unsigned.look()
    assert fake.log == []
