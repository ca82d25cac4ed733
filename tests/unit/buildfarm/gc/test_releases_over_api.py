"""A collection over the registry's API keeps a release as long as an image that names it, even a new one."""

from __future__ import annotations

import pytest

from buildfarm.gc.choose import Reason, Rules
from buildfarm.gc.over_api.taken import Journal
from buildfarm.gc.storage import Stored
from buildfarm.oci.registry import Registry
from buildfarm.releases.document import RELEASE_ANNOTATION, RELEASE_TYPE
from testkit.registry.fake import FakeRegistry
from tests.unit.buildfarm.gc.test_over_api import Late, deleting, manifests, push, run

APP = "apps/t/a"


@pytest.fixture
def fake():
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", attempts=1) as registry:
        yield registry


def release_of(registry, layer):
    return push(registry, APP, layer, artifactType=RELEASE_TYPE)


def image_of(registry, release, layer, tag=None):
    return push(registry, APP, layer, tag, annotations={RELEASE_ANNOTATION: release})


def test_releases_of_images_that_stay_stay(registry, fake):
    of_tag, of_record, alone = (release_of(registry, bytes([number])) for number in range(3))
    tagged, recorded = image_of(registry, of_tag, b"1", "latest"), image_of(registry, of_record, b"2")
    run(deleting(registry, fake, recorded))
    assert manifests(fake) == {of_tag, tagged, of_record, recorded}
    assert alone not in manifests(fake)


def test_a_release_goes_with_its_last_image_and_after_it(registry, fake):
    release = release_of(registry, b"1")
    images = [image_of(registry, release, bytes([number])) for number in range(3)]
    there = fake.repository(APP).manifests
    there[release] = there.pop(release)  # it is listed after them
    job = deleting(registry, fake)
    done, back = run(job)
    assert (done.manifests, back, manifests(fake)) == (4, set(), set())
    assert [*job.gone][-1] == (APP, release)
    assert {digest for _, digest in job.gone} == {release, *images}


def test_images_of_one_release_are_one_of_the_newest(registry, fake):
    release, older = release_of(registry, b"1"), release_of(registry, b"2")
    moved = [image_of(registry, release, bytes([number])) for number in range(3)]
    before = image_of(registry, older, b"9")
    job = deleting(registry, fake, rules=Rules(images=2, grace_seconds=0))
    for number, digest in enumerate([before, older, release, *moved]):
        job.planning.seen[APP, digest] += number
    run(job)
    assert manifests(fake) == {release, moved[-1], older, before}


def test_an_older_image_of_a_release_has_the_grace_from_its_replacement_on(registry, fake):
    release = release_of(registry, b"1")
    before, newest = image_of(registry, release, b"2"), image_of(registry, release, b"3", "latest")
    job = deleting(registry, fake, rules=Rules(images=0, grace_seconds=100))
    job.planning.seen[APP, newest] += 950
    kept = {item.digest: reason for item, reason in job.planning.plan().choice.staying}
    assert kept == {
        newest: Reason.TAG,
        before: Reason.YOUNG,
        release: Reason.PART,
    }


def test_a_release_comes_back_with_an_image_that_was_there(registry, fake):
    release = release_of(registry, b"1")
    image = image_of(registry, release, b"2")
    _, back = run(deleting(registry, fake, late=Late(set(), {image})))
    assert back == manifests(fake) == {release, image}


def test_a_release_comes_back_with_an_image_that_is_published_meanwhile(registry, fake):
    release, other = release_of(registry, b"1"), release_of(registry, b"2")

    def published():
        assert release not in manifests(fake)
        return {image_of(registry, release, b"3")}

    _, back = run(deleting(registry, fake, late=Late(set(), published)))
    assert back == {release}
    assert other not in manifests(fake)


def test_a_release_is_not_deleted_once_a_new_image_names_it(registry, fake):
    release = release_of(registry, b"1")
    job = deleting(registry, fake, late=lambda: {image_of(registry, release, b"3")})
    run(job)
    assert job.gone == {}


def test_a_release_comes_back_with_an_image_that_was_tagged_meanwhile(registry, fake):
    release = release_of(registry, b"1")
    late = Late(set(), lambda: image_of(registry, release, b"3", "latest") and set())
    assert run(deleting(registry, fake, late=late))[1] == {release}


def test_an_image_and_its_release_come_back_after_a_collection_that_was_killed(registry, fake):
    release = release_of(registry, b"1")
    image = image_of(registry, release, b"2")
    job = deleting(registry, fake, late=Late(set(), set()))
    job._put_back = lambda _: (_ for _ in ()).throw(SystemError)
    with pytest.raises(SystemError):
        run(job)
    assert manifests(fake) == set()
    assert {digest for _, digest in Journal(registry).recover()} == manifests(fake) == {release, image}


def test_what_a_push_that_took_long_names_comes_back_with_the_next_collection(registry, fake):
    release, other = release_of(registry, b"1"), release_of(registry, b"2")
    image = image_of(registry, release, b"3")
    content = fake.repository(APP).manifests[image]
    run(deleting(registry, fake))
    assert manifests(fake) == set()
    assert Journal(registry).missed([Stored("apps/t/b", "other", 0, names=frozenset({image}))], {"another"}) == []
    fake.repository(APP).manifests[image] = content  # the push ends
    job = deleting(registry, fake)
    job.planning.used = {image: Reason.RECORD}
    staying = [item for item, _ in job.planning.plan().choice.staying]
    assert Journal(registry).missed(staying, job.planning.used) == [(APP, release)]
    assert manifests(fake) == {image, release}
    assert other not in manifests(fake)
    assert Journal(registry).missed(staying, {image}) == []


def test_a_recorded_image_and_its_release_come_back_together(registry, fake):
    release = release_of(registry, b"1")
    image = image_of(registry, release, b"2")
    run(deleting(registry, fake))
    assert set(Journal(registry).missed([], {image})) == {(APP, image), (APP, release)}
    assert manifests(fake) == {image, release}


def test_what_the_registrys_own_collector_freed_since_does_not_come_back(registry, fake):
    release = release_of(registry, b"1")
    run(deleting(registry, fake))
    fake.repository(APP).blobs.clear()
    Journal(registry).missed([], {release})
    assert manifests(fake) == set()
