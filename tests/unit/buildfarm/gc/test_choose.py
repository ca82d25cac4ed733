"""What may go from a registry, as a table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from buildfarm.gc.choose import Keep, Reason, Rules, choose
from buildfarm.gc.content import Content
from buildfarm.gc.storage import Stored
from buildfarm.oci.signatures.simple import PAYLOAD_TYPE

NOW = 1_000_000.0
RULES = Rules(images=2, source_seconds=100, cache_seconds=200, grace_seconds=10)


def digest_of(name):
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def stored(repository, name, age, *tags, names=(), subject=""):
    digest = digest_of(name)
    return Stored(repository, digest, NOW - age, frozenset(tags), frozenset({digest, *names}), subject)


def going(*manifests, used=(), rules=RULES):
    return choose(manifests, dict.fromkeys(used, Reason.RECORD), rules, NOW).going


@pytest.mark.parametrize(
    ("item", "used", "goes"),
    [
        (stored("apps/a", "old", 50), False, True),
        (stored("apps/a", "old", 50), True, False),
        (stored("apps/a", "old", 50, "v1"), False, False),
        (stored("apps/a", "young", 5), False, False),
        (stored("sources/t", "old", 101), False, True),
        (stored("sources/t", "old", 99), False, False),
        (stored("sources/t", "old", 101), True, False),
        (stored("caches/t/a", "newest", 199, "cache"), False, False),
        (stored("caches/t/a", "forgotten", 201, "cache"), False, True),
        (stored("caches/t/a", "replaced", 50), False, True),
        (stored("tools/go", "in use", 10_000, "1.24.11"), False, False),
        (stored("tools/go", "replaced", 50), False, True),
        (stored("archive/t/a", "a pack", 10_000, "1.0-b"), False, False),
        (stored("archive/t/a", "a listed pack", 10_000), True, False),
        (stored("archive/t/a", "in another pack", 50), False, True),
        (stored("audit/days", "a part", 399 * 86_400, "2026-01-02-b"), False, False),
        (stored("audit/days", "a listed part", 10_000), True, False),
        (stored("audit/days", "a part without a tag", 50), False, True),
    ],
)
def test_what_may_go(item, used, goes):
    newer = [stored(item.repository, f"newer{number}", 1) for number in range(2)]
    assert going(item, *newer, used=[item.digest] if used else []) == ([item] if goes else [])


def test_what_an_index_names_stays_with_it_and_goes_with_it():
    part = stored("apps/a", "part", 500)
    newer = [stored("apps/a", f"newer{number}", 1) for number in range(2)]
    tagged = stored("apps/a", "index", 500, "latest", names=(part.digest,))
    assert going(part, tagged, *newer) == []
    untagged = stored("apps/a", "index", 500, names=(part.digest,))
    assert going(part, untagged, *newer) == [part, untagged]


IMAGE = digest_of("image")
NEWER = [stored("apps/a", f"newer{number}", 20) for number in range(2)]
FALLBACK = "sha256-" + IMAGE.removeprefix("sha256:")


def about(*tags, age=500, names=(), subject=IMAGE, name="signature"):
    return stored("apps/a", name, age, *tags, names=names, subject=subject)


def referrers():
    """The kinds of referrers: by subject, by cosign's tags, by the list that is kept under a tag."""
    signature = about()
    listed = about(FALLBACK, names=(signature.digest,), subject="", name="list")
    before = about(names=(signature.digest,), subject="", name="list before")
    return {
        "subject": [signature],
        "a tag of cosign": [about(f"{FALLBACK}.sig", subject="")],
        "a list of referrers": [signature, listed],
        "a list that lost its tag": [signature, listed, before],
        "of a referrer": [signature, about(subject=signature.digest, name="about the signature")],
    }


def test_signatures_that_were_replaced_at_their_tag_are_none_of_the_newest_images():
    replaced = replace(stored("apps/a", "replaced", 300), is_signatures=True)
    images = [stored("apps/a", f"image{number}", 400 + number) for number in range(2)]
    assert going(replaced, *images) == [replaced]


@pytest.mark.parametrize(
    ("types", "are_signatures"), [([PAYLOAD_TYPE], True), ([PAYLOAD_TYPE, "tar"], False), ([], False)]
)
def test_a_manifest_of_signatures_has_nothing_else(types, are_signatures):
    manifest = {"layers": [{"mediaType": kind, "digest": "sha256:1"} for kind in types]}
    assert Content.parse(json.dumps(manifest).encode()).is_signatures is are_signatures


@pytest.mark.parametrize("kind", referrers())
def test_a_referrer_goes_with_its_subject_and_does_not_keep_it(kind):
    found, image = referrers()[kind], stored("apps/a", "image", 500)
    assert going(image, *found, *NEWER) == [image, *found]
    young = [about(*item.tags, age=1, names=item.names, subject=item.subject, name=str(item)) for item in found[:1]]
    assert going(image, *young, *NEWER) == [image, *young]


@pytest.mark.parametrize("kind", referrers())
def test_a_referrer_stays_as_long_as_its_subject(kind):
    found = [item for item in referrers()[kind] if item.digest != digest_of("list before")]
    assert going(stored("apps/a", "image", 500, "latest"), *found, *NEWER) == []
    assert going(stored("apps/a", "image", 500), *found, *NEWER, used=[IMAGE]) == []


@pytest.mark.parametrize("kind", referrers())
def test_a_referrer_that_came_before_its_subject_has_the_grace(kind):
    first = referrers()[kind][0]
    early = Stored(first.repository, first.digest, NOW - 5, first.tags, first.names, first.subject)
    assert going(early, *NEWER) == []
    assert going(first, *NEWER) == [first]


def test_referrers_do_not_count_as_images():
    newest = [stored("apps/a", f"image{number}", 20 + number) for number in range(3)]
    signatures = [about(subject=item.digest, name=f"of{item.digest}", age=11) for item in newest]
    assert going(*newest, *signatures) == [newest[2], signatures[2]]


def test_a_repository_has_its_own_policy():
    rules = Rules(images=1, grace_seconds=10, policies={"apps/a": Keep(seconds=300, count=0)})
    young, old = stored("apps/a", "week", 200), stored("apps/a", "month", 400)
    other = [stored("apps/b", f"b{number}", 50 + number) for number in range(2)]
    assert going(young, old, *other, rules=rules) == [old, other[1]]


def test_everything_that_stays_has_its_reason():
    image, part = stored("apps/a", "image", 500, "latest", names=(digest_of("part"),)), stored("apps/a", "part", 500)
    choice = choose([image, part, about(), *NEWER], {IMAGE: Reason.RUNNING}, RULES, NOW)
    assert {item.digest: reason for item, reason in choice.staying} == {
        image.digest: Reason.RUNNING,
        part.digest: Reason.PART,
        about().digest: Reason.REFERRER,
        NEWER[0].digest: Reason.NEWEST,
        NEWER[1].digest: Reason.NEWEST,
    }


def signed(name, age):
    """An image as the signer leaves it: a bundle, the index of referrers, and the manifest at the tag ``.sig``."""
    image = stored("apps/a", name, age)
    hexadecimal = image.digest.removeprefix("sha256:")
    bundle = stored("apps/a", f"{name} bundle", age, subject=image.digest)
    index = stored("apps/a", f"{name} index", age, f"sha256-{hexadecimal}", names=(bundle.digest,))
    signatures = stored("apps/a", f"{name} signatures", age, f"sha256-{hexadecimal}.sig")
    return [image, bundle, index, signatures]


def test_signatures_go_with_their_image_and_never_without_it():
    old, newest = signed("old", 500), [one for number in range(2) for one in signed(f"newer{number}", 1)]
    assert going(*old, *newest) == old
    assert going(*old, *newest, used=[old[0].digest]) == []


def test_signatures_do_not_count_as_newest_images():
    images = [signed(name, age) for name, age in (("first", 52), ("second", 51))]
    assert going(*[one for image in images for one in image]) == []
