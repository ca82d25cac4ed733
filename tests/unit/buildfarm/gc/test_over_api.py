"""A collection over the registry's API: what a listing has, what goes, and what a push that comes meanwhile keeps."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import RegistryError, SetupError
from buildfarm.gc.choose import COLLECTION, Reason, Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.memory import Memory
from buildfarm.gc.over_api.deleting import Deleting
from buildfarm.gc.over_api.listing import SECONDS_MAX, Listing
from buildfarm.gc.over_api.planning import Planning, wholes_first
from buildfarm.gc.over_api.reading import Reading
from buildfarm.gc.over_api.remembered import Remembered
from buildfarm.gc.over_api.taken import Journal
from buildfarm.gc.storage import Stored
from buildfarm.oci.registry import Registry
from testkit.registry.fake import FakeRegistry, digest_of

OCI = "application/vnd.oci.image.manifest.v1+json"
EAGER = Rules(images=0, source_seconds=0, cache_seconds=0, grace_seconds=0)
END = "3 blobs marked, 0 blobs and 0 manifests eligible for deletion\n"
INDEX = "application/vnd.oci.image.index.v1+json"
digests = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")


@pytest.fixture
def fake():
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", attempts=1) as registry:
        yield registry


def listing_file(folder, text, age=0.0):
    path = folder / "listing"
    path.write_text(f"# {time.time() - age:.0f}\n{text}")
    return path


def push(registry, repository, layer, tag=None, **fields):
    """An image with this layer; its digest."""
    found = {"schemaVersion": 2, "mediaType": OCI, "config": part(b"{}"), "layers": [part(layer)], **fields}
    for content in (b"{}", layer):
        registry.put_blob(repository, content, look=False)
    return str(registry.put_manifest(repository, json.dumps(found).encode(), OCI, tag=tag))


def part(content):
    return {"digest": digest_of(content), "size": len(content)}


def listed(fake, age=1000.0):
    """What the registry's own collector would list, known for so long."""
    return {
        (name, digest): time.time() - age
        for name, repository in fake.repositories.items()
        for digest in repository.manifests
        if ":" in digest
    }


def push_index(registry, fake, *parts, repository="apps/t/a", tag=None, **fields):
    """An index of these manifests, also of those that the registry lacks by now; its digest."""
    found = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": digest, "size": 1} for digest in parts]}
    content = json.dumps(found | fields).encode()
    for name in filter(None, (digest_of(content), tag)):
        fake.repository(repository).manifests[name] = (INDEX, content)
    return digest_of(content)


def deleting(registry, fake, *names, rules=EAGER, late=set, go_on=lambda: None):
    planning = Planning(Reading(registry), listed(fake), dict.fromkeys(names, Reason.RECORD), rules)
    return Deleting(planning, late, go_on)


def run(job, budget=None):
    """Its result, and the digests that went back."""
    done = job.run(job.planning.plan(), budget or Budget(), settle_seconds=0)
    assert done.put_back == len(job.back)
    return done, {item.digest for item in job.back}


class Late:
    """What is named when it is asked for; the first time is before anything is deleted."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self):
        answer = self.answers.pop(0)
        return answer() if callable(answer) else answer


def manifests(fake, repository="apps/t/a"):
    return {name for name in fake.repository(repository).manifests if ":" in name}


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5}){0,2}", fullmatch=True), digests), max_size=5))
def test_every_manifest_of_a_listing_is_read_once(tmp_path_factory, places):
    lines = [f"{repository}: marking manifest {digest} \n" for repository, digest in (*places, *places)]
    noise = [f"{repository}\n{repository}: marking blob {digest}\n" for repository, digest in places]
    path = listing_file(tmp_path_factory.mktemp("listing"), "".join([*noise, *lines]) + "\n" + END)
    assert Listing.read(path).places == tuple(dict.fromkeys(places))


@pytest.mark.parametrize(
    ("text", "age", "reason"),
    [
        ("a: marking manifest sha256:" + "0" * 64, 0, "not a complete"),
        ("", 0, "not a complete"),
        (END, SECONDS_MAX + 9, "more than an hour"),
    ],
)
def test_a_listing_that_was_cut_or_is_old_is_refused(tmp_path, text, age, reason):
    with pytest.raises(SetupError, match=reason):
        Listing.read(listing_file(tmp_path, text, age))


def test_a_listing_is_of_the_time_that_it_names_also_through_a_pipe():
    reading, writing = os.pipe()
    at = int(time.time()) - 100
    os.write(writing, f"# {at}\na: marking manifest sha256:{'0' * 64}\n{END}".encode())
    os.close(writing)
    try:
        found = Listing.read(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
    assert (len(found.places), found.at) == (1, at)


def test_a_listing_that_does_not_say_when_it_was_made_is_refused(tmp_path):
    path = tmp_path / "listing"
    path.write_text(END)
    with pytest.raises(SetupError, match="when it was made"):
        Listing.read(path)


def test_a_listing_that_is_missing_is_refused(tmp_path):
    with pytest.raises(SetupError, match="cannot be read"):
        Listing.read(tmp_path / "none")


def test_what_nothing_names_goes_and_what_it_frees_is_told(registry, fake):
    tagged, recorded = push(registry, "apps/t/a", b"1" * 10, "latest"), push(registry, "apps/t/a", b"2" * 20)
    push(registry, "apps/t/a", b"3" * 30)
    done, back = run(deleting(registry, fake, recorded))
    assert manifests(fake) == {tagged, recorded}
    assert (done.manifests, done.kept_manifests, back) == (1, 2, set())
    assert done.freed_bytes == 0
    assert 30 < done.left_bytes < done.stored_bytes
    assert done.usage["t"]["apps"] > 30


def test_what_was_listed_just_now_is_young(registry, fake):
    push(registry, "apps/t/a", b"1")
    rules = Rules(images=0, grace_seconds=2000)
    assert deleting(registry, fake, rules=rules).planning.plan().choice.going == []


def test_what_was_deleted_since_the_listing_is_no_matter(registry, fake):
    push(registry, "apps/t/a", b"1")
    job = deleting(registry, fake)
    fake.repository("apps/t/a").manifests.clear()
    assert run(job)[0].manifests == 0


def test_a_budget_of_no_time_deletes_nothing(registry, fake):
    digest = push(registry, "apps/t/a", b"1")
    done, _ = run(deleting(registry, fake), Budget(seconds=-1))
    assert manifests(fake) == {digest}
    assert (done.manifests, done.kept_manifests, done.left_bytes) == (0, 1, 0)
    assert done.usage["t"]["apps"] > 0


def test_an_image_that_a_record_names_since_the_plan_is_not_deleted(registry, fake):
    digest = push(registry, "apps/t/a", b"1")
    job = deleting(registry, fake, late=lambda: {digest})
    assert run(job)[0].manifests == 0
    assert job.gone == {}
    assert manifests(fake) == {digest}


def test_an_image_that_a_build_published_meanwhile_comes_back(registry, fake):
    digest, other = push(registry, "apps/t/a", b"1"), push(registry, "apps/t/a", b"2")
    done, back = run(deleting(registry, fake, late=Late(set(), {digest})))
    assert back == manifests(fake) == {digest}
    assert (done.manifests, done.kept_manifests) == (1, 1)
    assert other not in manifests(fake)


def test_an_index_comes_back_after_its_parts_whatever_their_order(registry, fake):
    parts = [push(registry, "apps/t/a", bytes([number])) for number in range(4)]
    inner = push_index(registry, fake, *parts[:2])
    outer = push_index(registry, fake, inner, *parts[2:])
    _, back = run(deleting(registry, fake, late=Late(set(), {outer, parts[0]})))
    assert back == manifests(fake) == {*parts, inner, outer}


def test_parts_of_an_index_that_a_record_names_come_back_also_if_the_index_was_not_listed(registry, fake):
    child, other = push(registry, "apps/t/a", b"1"), push(registry, "apps/t/b", b"1")
    job = deleting(registry, fake, late=Late(set(), lambda: {push_index(registry, fake, child)}))
    _, back = run(job)
    assert back == {child}
    assert child in manifests(fake)
    assert child == other
    assert manifests(fake, "apps/t/b") == {child}  # the record does not say where it is


def test_parts_of_an_index_that_was_pushed_and_tagged_meanwhile_come_back(registry, fake):
    child = push(registry, "apps/t/a", b"1")
    job = deleting(registry, fake, late=Late(set(), lambda: push_index(registry, fake, child, tag="latest") and set()))
    assert run(job)[1] == {child}
    assert child in manifests(fake)


def test_a_tag_that_was_set_since_the_plan_keeps_its_image_and_the_parts_of_it(registry, fake):
    child, other = push(registry, "apps/t/a", b"1"), push(registry, "apps/t/a", b"2")
    job = deleting(registry, fake)
    plan = job.planning.plan()
    push_index(registry, fake, child, tag="latest")
    job.run(plan, Budget(), settle_seconds=0)
    assert [digest for _, digest in job.gone] == [other]


def test_an_index_that_was_tagged_after_the_listing_keeps_its_parts(registry, fake):
    child = push(registry, "apps/t/a", b"1")
    job = deleting(registry, fake)
    push_index(registry, fake, child, tag="latest")
    assert job.planning.plan().choice.going == []


def test_a_referrer_comes_back_with_its_subject(registry, fake):
    image = push(registry, "apps/t/a", b"1")
    signature = push(registry, "apps/t/a", b"2", subject=part(b"") | {"digest": image})
    tagged = push(registry, "apps/t/a", b"3", f"sha256-{image[7:]}.sig")
    part_of_it = push(registry, "apps/t/a", b"4")
    evidence = push_index(registry, fake, part_of_it, subject={"digest": image})
    job = deleting(registry, fake, late=Late(set(), {image}))
    assert run(job)[1] == manifests(fake) == {image, signature, tagged, evidence, part_of_it}
    assert f"sha256-{image[7:]}.sig" in fake.repository("apps/t/a").manifests


@pytest.mark.parametrize("taken", [False, True])
def test_a_cache_comes_back_under_its_tag_unless_another_one_has_it(registry, fake, taken):
    cache = push(registry, "caches/t/a", b"1", "v1")

    def late():
        assert not manifests(fake, "caches/t/a")
        return {cache, *([push(registry, "caches/t/a", b"2", "v1")] if taken else [])}

    _, back = run(deleting(registry, fake, late=Late(set(), late)))
    assert back == {cache}
    assert cache in manifests(fake, "caches/t/a")
    assert (digest_of(fake.repository("caches/t/a").manifests["v1"][1]) == cache) is not taken


@pytest.mark.parametrize("when", ["named", "asked to end", "asked at last", "refused", "unanswered", "interrupted"])
def test_all_comes_back_if_it_is_not_known_what_is_needed(registry, fake, when):
    parts = [push(registry, "apps/t/a", bytes([number])) for number in range(3)]
    found = {*parts, push_index(registry, fake, *parts)}
    steps = iter(range(9))
    error = KeyboardInterrupt if when == "interrupted" else RegistryError

    def fail(*_):
        raise error("no")

    job = deleting(registry, fake, late=Late(set(), fail if when in ("named", "interrupted") else set()))
    if when == "asked to end":
        job.go_on = lambda: fail() if next(steps) == 2 else None
    if when == "asked at last":
        job.go_on = lambda: fail() if next(steps) == 4 else None
    if when == "refused":
        job.go_on = lambda: fake.faults.append(("DELETE", 503 if next(steps) == 2 else "no-mount"))
    if when == "unanswered":  # it was done

        def delete(*place, deleting=registry.delete_manifest):
            deleting(*place)
            if next(steps) == 2:
                fail()

        registry.delete_manifest = delete
    with pytest.raises(error):
        run(job)
    assert len(job.gone) >= 2
    assert manifests(fake) == found
    assert Journal(registry).recover() == []


def test_what_a_collection_that_was_killed_had_deleted_comes_back(registry, fake):
    parts = [push(registry, "apps/t/a", bytes([number])) for number in range(3)]
    found = {*parts, push_index(registry, fake, *parts)}
    cache = push(registry, "caches/t/a", b"1", "v1")
    job = deleting(registry, fake, late=Late(set(), set()))
    job._put_back = lambda _: (_ for _ in ()).throw(SystemError)  # as if it was killed before that
    with pytest.raises(SystemError):
        run(job)
    assert (manifests(fake), manifests(fake, "caches/t/a")) == (set(), set())
    assert {digest for _, digest in Journal(registry).recover()} == {*found, cache}
    assert manifests(fake) == found
    assert digest_of(fake.repository("caches/t/a").manifests["v1"][1]) == cache
    assert Journal(registry).recover() == []


def test_what_cannot_come_back_for_good_keeps_no_other_from_it(registry, fake):
    push(registry, "apps/t/a", b"1" * 10)
    kept = push(registry, "apps/t/b", b"2" * 10)
    job = deleting(registry, fake, late=Late(set(), set()))
    job._put_back = lambda _: (_ for _ in ()).throw(SystemError)
    with pytest.raises(SystemError):
        run(job)
    fake.repository("apps/t/a").blobs.clear()
    assert len(Journal(registry).recover()) == 2
    assert manifests(fake, "apps/t/b") == {kept}
    assert Journal(registry).recover() == []


def test_what_cannot_go_back_is_named_and_the_others_go_back(registry, fake):
    digests = [push(registry, "apps/t/a", bytes([number])) for number in range(3)]
    job = deleting(registry, fake, late=Late(set(), lambda: fake.faults.append(("PUT", 503)) or set(digests)))
    with pytest.raises(RegistryError, match=r"1 manifests .* apps/t/a@sha256:"):
        run(job)
    assert len(manifests(fake)) == 2
    assert {digest for _, digest in Journal(registry).recover()} == manifests(fake) == set(digests)


def test_only_so_many_go_at_a_time(registry, fake, monkeypatch):
    for number in range(5):
        push(registry, "apps/t/a", bytes([number]))
    monkeypatch.setattr("buildfarm.gc.over_api.deleting.MANIFESTS_MAX", 2)
    done, _ = run(deleting(registry, fake))
    assert (done.manifests, done.kept_manifests) == (2, 3)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_what_is_named_at_the_end_is_whole_whatever_was_named_and_whatever_failed(data):
    with FakeRegistry() as fake, Registry(f"http://{fake.host}", attempts=1) as registry:
        made = [push(registry, "apps/t/a", bytes([number])) for number in range(data.draw(st.integers(1, 3)))]
        for _ in range(data.draw(st.integers(0, 3))):
            parts = data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
            made.append(push_index(registry, fake, *parts))
        some = st.sets(st.sampled_from(made))
        needed = [data.draw(some), data.draw(some)]
        whole = Reading(registry)
        whole.read_all([("apps/t/a", digest) for digest in made])
        job = deleting(registry, fake, *data.draw(some), late=Late(*needed, *needed))
        ends_at, steps = data.draw(st.integers(0, 9)), iter(range(99))
        job.go_on = lambda: fake.faults.append(("DELETE", 503)) if next(steps) == ends_at else None
        try:
            run(job)
        except RegistryError:
            assert manifests(fake) == set(made)
        wanted = whole.made_of(needed[1]) & set(made)
        assert wanted <= manifests(fake)


@given(st.permutations(range(6)), st.data())
def test_wholes_are_before_their_parts_and_referrers_before_their_subjects(order, data):
    items = []
    for number in range(6):
        names = data.draw(st.sets(st.sampled_from([item.digest for item in items]))) if items else set()
        subject = data.draw(st.sampled_from(["", *(item.digest for item in items)]))
        items.append(Stored("a", f"d{number}", 0, frozenset(), frozenset({f"d{number}", *names}), subject))
    found = [item.digest for item in wholes_first([items[number] for number in order])]
    for item in items:
        later = found[found.index(item.digest) :]
        assert {*item.names, item.subject or item.digest} <= set(later)


def test_a_memory_that_was_left_comes_back_and_times_are_the_first(registry, fake):
    places = (("apps/t/a", "sha256:" + "1" * 64), ("apps/t/a", "sha256:" + "2" * 64))
    first, memory = Remembered(registry), Memory("mark").encode()
    assert (first.owner(), first.memory()) == ("", {})
    first.own("farm")
    assert first.seen(Listing(places[:1], 100.0)) == {places[0]: 100.0}
    first.remember(memory)
    second = Remembered(registry)
    assert (second.owner(), second.memory()) == ("farm", memory)
    assert second.seen(Listing(places, 200.0)) == {places[0]: 100.0, places[1]: 200.0}
    second.keep({places[0]: 100.0, places[1]: 200.0}, but=[places[1]])  # it went, and is pushed again
    assert second.seen(Listing(places, 300.0)) == {places[0]: 100.0, places[1]: 300.0}


def test_an_older_memory_goes_and_the_newest_stays(registry, fake):
    for mark in ("one", "two"):
        kept = Remembered(registry)
        kept.remember(Memory(mark).encode())
    run(deleting(registry, fake))
    assert set(fake.repository(COLLECTION).manifests) >= {"memory", "deleting"}
    assert Remembered(registry).memory() == Memory("two").encode()


def test_a_damaged_memory_is_not_taken_for_none(registry, fake):
    Remembered(registry).remember({})
    repository = fake.repository(COLLECTION)
    repository.manifests["memory"] = repository.manifests[push(registry, COLLECTION, b"x")]
    with pytest.raises(SetupError, match="damaged"):
        Remembered(registry).owner()


def test_a_memory_whose_bytes_are_damaged_is_not_taken_for_none(registry, fake):
    Remembered(registry).remember({})
    broken = gzip.compress(b"{}" * 99)[:10] + b"\xff" * 20  # zlib's own error
    config = registry.put_blob(COLLECTION, broken)
    content = json.loads(fake.repository(COLLECTION).manifests["memory"][1])
    content["config"] |= {"digest": str(config), "size": len(broken)}
    registry.put_manifest(COLLECTION, json.dumps(content).encode(), OCI, tag="memory")
    with pytest.raises(SetupError, match="damaged"):
        Remembered(registry).owner()
