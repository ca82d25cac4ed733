"""Uploads that are opened before an image is signed: what they save, and that nothing depends on them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.open_uploads import KEPT_SECONDS, OpenUploads, UploadsAhead
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


def opened(fake, count):
    wait_for(lambda: len(fake.uploads) == count, 5, lambda: fake.uploads)


def test_an_expected_image_is_signed_without_opening_uploads(attaching, registry, fake):
    image = pushed(registry)
    fake.log.clear()
    attaching.expect(REPOSITORY, statements=0)
    opened(fake, 2)  # for the signatures, and the bundle
    attaching.sign(image, is_new=True)
    assert fake.log.count(OPENED) == 2
    assert verified(registry, A).forms == ("tag", "bundle")
    wait_for(lambda: not fake.uploads, 5)


def test_uploads_that_the_registry_has_removed_are_opened_again(attaching, registry, fake):
    attaching.expect(REPOSITORY, statements=0)
    opened(fake, 2)
    fake.uploads.clear()
    attaching.sign(pushed(registry), is_new=True)
    assert verified(registry, A).forms == ("tag", "bundle")


def test_uploads_that_an_image_does_not_need_are_cancelled(attaching, registry, fake):
    image = pushed(registry)
    attaching.sign(image)
    attaching.expect(REPOSITORY, statements=3)
    opened(fake, 5)
    attaching.sign(image)  # nothing is to be sent
    wait_for(lambda: not fake.uploads, 5)


def test_an_image_with_more_statements_than_expected_is_signed(attaching, registry, fake):
    image = pushed(registry)
    attaching.expect(REPOSITORY, statements=0)
    attaching.sign(image, is_new=True, more=[Statement(image.subject.digest, PROVENANCE, {"a": 1}, image.name)])
    assert verified(registry, A).statements == (PROVENANCE,)


@pytest.fixture
def ahead(registry):
    """By a clock that tests set."""
    now = [0.0]
    with ThreadPoolExecutor(2) as pool:
        yield UploadsAhead(registry, pool, lambda: now[0]), now


def test_they_are_opened_once_and_cancelled_after_a_while(ahead, fake):
    uploads, now = ahead
    uploads.expect(REPOSITORY, 2)
    opened(fake, 2)
    uploads.expect(REPOSITORY, 2)
    now[0] = KEPT_SECONDS - 1
    uploads.tidy()
    assert len(fake.uploads) == 2
    now[0] = KEPT_SECONDS + 1
    uploads.tidy()
    assert not fake.uploads
    uploads.expect(REPOSITORY, 2)
    opened(fake, 2)


def test_uploads_that_are_still_being_opened_are_used(registry, fake):
    opening = Future()
    uploads = OpenUploads(0.0, [opening])
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(uploads.send, registry, REPOSITORY, b"content")
        opening.set_result(registry.open_upload(REPOSITORY))
        sending.result(5)
    assert fake.log.count(OPENED) == 1
    assert registry.has_blob(REPOSITORY, Digest.of(b"content"))


def test_how_many_repositories_wait_is_bounded(ahead, fake):
    uploads, _ = ahead
    for number in range(60):
        uploads.expect(f"apps/t/a{number}", 1)
    opened(fake, 50)
    assert len(uploads._expected) == 50


def test_a_name_that_is_not_a_repository_opens_nothing(ahead, fake):
    uploads, _ = ahead
    with pytest.raises(ValueError, match="repository"):
        uploads.expect("../x", 1)
    assert not fake.log


def test_uploads_that_the_registry_does_not_open_delay_nothing(registry, fake):
    attaching = Attaching(registry, [A])
    image = pushed(registry)
    fake.faults.append(("POST", 503))
    attaching.expect(REPOSITORY, statements=0)
    attaching.sign(image, is_new=True)
    assert verified(registry, A).forms == ("tag", "bundle")
