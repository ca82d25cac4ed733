"""Uploads that are opened before an image is signed: what they save, and that nothing depends on them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci import upload
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import open_uploads
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.open_uploads import KEPT_SECONDS, REPOSITORIES_MAX, OpenUploads, UploadsAhead
from testkit.builds import wait_for
from tests.unit.buildfarm.oci.signatures.test_attaching import PROVENANCE, REPOSITORY, pushed, verified
from tests.unit.buildfarm.oci.signatures.test_formats import A

OPENED = f"POST /v2/{REPOSITORY}/blobs/uploads/"


@pytest.fixture(autouse=True)
def _time_to_close(monkeypatch):
    monkeypatch.setattr(open_uploads, "_CLOSE_SECONDS", 60)


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", pause=lambda _: None) as client:
        yield client


@pytest.fixture
def attaching(registry):
    """It has signed an image of the repository before."""
    found = Attaching(registry, [A])
    found.sign(pushed(registry, "before"))
    yield found
    found.close()


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
    assert fake.log.count(OPENED) == 2
    now[0] = KEPT_SECONDS + 1
    uploads.tidy()
    opened(fake, 0)
    uploads.expect(REPOSITORY, 2)
    opened(fake, 2)


def test_uploads_that_are_still_being_opened_are_used(registry, fake):
    opening = Future()
    opening.set_running_or_notify_cancel()
    with ThreadPoolExecutor(1) as pool:
        uploads = OpenUploads(0.0, pool, [opening], late_seconds=60)
        sending = pool.submit(uploads.send, registry, REPOSITORY, b"content")
        opening.set_result(registry.open_upload(REPOSITORY))
        sending.result(5)
    assert fake.log.count(OPENED) == 1
    assert registry.has_blob(REPOSITORY, Digest.of(b"content"))


def test_of_too_many_repositories_the_oldest_give_way(ahead, fake):
    uploads, now = ahead
    for number in range(REPOSITORIES_MAX + 10):
        now[0] += 0.1
        uploads.expect(f"apps/t/a{number}", 1)
    assert list(uploads._expected) == [f"apps/t/a{number}" for number in range(10, REPOSITORIES_MAX + 10)]
    uploads.close()
    assert not fake.uploads


def test_names_without_end_open_no_more_uploads_than_there_is_room_for(ahead, fake):
    uploads, now = ahead
    for number in range(3 * REPOSITORIES_MAX):
        uploads.expect(f"apps/t/a{number}", 1)
    assert list(uploads._expected) == [f"apps/t/a{number}" for number in range(REPOSITORIES_MAX)]
    now[0] += 2
    uploads.expect("apps/t/later", 1)
    assert [*uploads._expected][-1] == "apps/t/later"
    uploads.close()
    assert not fake.uploads


def test_openings_that_the_registry_does_not_answer_hold_no_thread_that_signs(attaching, registry, monkeypatch):
    answered, ran = threading.Event(), threading.Event()

    def stalls(_):
        answered.wait(60)
        raise RegistryError("no answer")

    monkeypatch.setattr(registry, "open_upload", stalls)
    for number in range(REPOSITORIES_MAX):
        attaching.expect(f"apps/t/a{number}", statements=1)
    attaching._pool.submit(ran.set)
    begun = ran.wait(10)
    answered.set()
    assert begun


def test_an_upload_that_is_opened_ahead_has_less_time_than_other_requests(registry, fake, monkeypatch):
    monkeypatch.setattr(upload, "_AHEAD_SECONDS", 0.1)
    fake.faults.append(("POST", "stall"))
    with pytest.raises(RegistryError, match="Timeout"):
        registry.open_upload(REPOSITORY)
    fake.closing.set()


def test_an_image_is_signed_while_the_registry_opens_no_upload(attaching, registry, fake, monkeypatch):
    monkeypatch.setattr(upload, "_AHEAD_SECONDS", 0.1)
    image = pushed(registry)
    fake.faults.extend([("POST", "stall"), ("POST", "stall")])
    attaching.expect(REPOSITORY, statements=0)
    wait_for(lambda: not fake.faults, 5)
    attaching.sign(image, is_new=True)
    fake.closing.set()
    assert verified(registry, A).forms == ("tag", "bundle")


def ended(call):
    """Whether it ends though what it could wait for does not come."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_a_blob_does_not_wait_for_an_upload_that_does_not_open(registry, fake):
    """It is cancelled when it opens after all."""
    opening = Future()
    opening.set_running_or_notify_cancel()
    with ThreadPoolExecutor(1) as pool:
        uploads = OpenUploads(0.0, pool, [opening], late_seconds=0)
        sent = ended(lambda: uploads.send(registry, REPOSITORY, b"content"))
        opening.set_result(registry.open_upload(REPOSITORY))
    assert sent
    assert registry.has_blob(REPOSITORY, Digest.of(b"content"))
    assert not fake.uploads


def test_a_blob_does_not_wait_for_an_upload_whose_turn_has_not_come(registry, fake):
    opening = Future()
    with ThreadPoolExecutor(1) as pool:
        uploads = OpenUploads(0.0, pool, [opening], late_seconds=60)
        sent = ended(lambda: uploads.send(registry, REPOSITORY, b"content"))
        assert opening.cancel()  # it is, or the test has to end
    assert sent
    assert registry.has_blob(REPOSITORY, Digest.of(b"content"))


def test_an_upload_that_takes_no_blob_is_cancelled(ahead, registry, fake):
    uploads, _ = ahead
    uploads.expect(REPOSITORY, 1)
    opened(fake, 1)
    fake.faults.append(("PUT", 503))
    uploads.take(REPOSITORY).send(registry, REPOSITORY, b"content")
    assert registry.has_blob(REPOSITORY, Digest.of(b"content"))
    opened(fake, 0)


def test_no_upload_is_left_when_the_signer_ends(attaching, fake):
    attaching.expect(REPOSITORY, statements=3)
    attaching.close()
    assert not fake.uploads


def test_the_end_of_what_is_late_waits_for_no_answer(fake, registry):
    """The one thread is held, so that whatever waits for it would do so for ever."""
    held, now = threading.Event(), [0.0]
    uploads = UploadsAhead(registry, ThreadPoolExecutor(1), lambda: now[0])
    uploads.expect(REPOSITORY, 2)
    opened(fake, 2)
    uploads.pool.submit(held.wait, 60)
    now[0] = KEPT_SECONDS + 1
    tidied, left = ended(uploads.tidy), len(fake.uploads)
    held.set()
    uploads.close()
    assert (tidied, left, len(fake.uploads)) == (True, 2, 0)


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
