"""Uploads that are opened before an image is signed: what they save, and that nothing depends on them."""

from __future__ import annotations

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.open_uploads import KEPT_SECONDS, UploadsAhead
from testkit.builds import wait_for
from tests.unit.buildfarm.oci.signatures.test_attaching import PROVENANCE, REPOSITORY, pushed, verified
from tests.unit.buildfarm.oci.signatures.test_formats import A

OPENED = f"POST /v2/{REPOSITORY}/blobs/uploads/"


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", pause=lambda _: None) as client:
        yield client


@pytest.fixture
def attaching(registry):
    """It has signed an image of the repository before."""
    found = Attaching(registry, [A])
    found.sign(pushed(registry, "before"))
    return found


def test_an_expected_image_is_signed_without_opening_uploads(attaching, registry, fake):
    image = pushed(registry)
    fake.log.clear()
    attaching.expect(REPOSITORY, statements=0)
    assert fake.log == [OPENED] * 2  # of the signatures, and the bundle
    attaching.sign(image, is_new=True)
    assert fake.log.count(OPENED) == 2
    assert verified(registry, A).forms == ("tag", "bundle")
    wait_for(lambda: not fake.uploads, 5)


def test_uploads_that_the_registry_has_removed_are_opened_again(attaching, registry, fake):
    attaching.expect(REPOSITORY, statements=0)
    fake.uploads.clear()
    attaching.sign(pushed(registry), is_new=True)
    assert verified(registry, A).forms == ("tag", "bundle")


def test_uploads_that_an_image_does_not_need_are_cancelled(attaching, registry, fake):
    image = pushed(registry)
    attaching.sign(image)
    attaching.expect(REPOSITORY, statements=3)
    assert len(fake.uploads) == 5
    attaching.sign(image)  # nothing is to be sent
    wait_for(lambda: not fake.uploads, 5)


def test_an_image_with_more_statements_than_expected_is_signed(attaching, registry, fake):
    image = pushed(registry)
    attaching.expect(REPOSITORY, statements=0)
    attaching.sign(image, is_new=True, more=[Statement(image.subject.digest, PROVENANCE, {"a": 1}, image.name)])
    assert verified(registry, A).statements == (PROVENANCE,)


def test_they_are_opened_once_and_cancelled_after_a_while(registry, fake):
    now = [0.0]
    ahead = UploadsAhead(registry, lambda: now[0])
    ahead.expect(REPOSITORY, 2)
    ahead.expect(REPOSITORY, 2)
    assert len(fake.uploads) == 2
    now[0] = KEPT_SECONDS - 1
    ahead.tidy()
    assert len(fake.uploads) == 2
    now[0] = KEPT_SECONDS + 1
    ahead.tidy()
    assert not fake.uploads
    ahead.expect(REPOSITORY, 2)
    assert len(fake.uploads) == 2


def test_those_that_come_too_late_are_cancelled(registry, fake):
    ahead = UploadsAhead(registry)
    ahead.expect(REPOSITORY, 1)
    uploads = ahead.take(REPOSITORY)
    uploads.end()
    uploads.add(registry.open_upload(REPOSITORY))
    assert not fake.uploads


def test_how_many_repositories_wait_is_bounded(registry, fake):
    ahead = UploadsAhead(registry)
    for number in range(60):
        ahead.expect(f"apps/t/a{number}", 1)
    assert len(fake.uploads) == 50


def test_a_name_that_is_not_a_repository_opens_nothing(registry, fake):
    ahead = UploadsAhead(registry)
    with pytest.raises(ValueError, match="repository"):
        ahead.expect("../x", 1)
    assert not fake.log


def test_a_registry_that_opens_no_uploads_is_reported_and_signing_goes_on(registry, fake):
    attaching = Attaching(registry, [A])
    fake.faults.append(("POST", 503))
    with pytest.raises(RegistryError):
        attaching.expect(REPOSITORY, statements=0)
    attaching.sign(pushed(registry), is_new=True)
    assert verified(registry, A).forms == ("tag", "bundle")
