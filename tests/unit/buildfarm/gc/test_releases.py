"""A release lives as long as an image names it, and images of one release count as one build."""

from __future__ import annotations

import hashlib
import json

import pytest

from buildfarm.gc.choose import Keep, Reason, Rules, choose
from buildfarm.gc.content import Content
from buildfarm.gc.storage import Stored
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig
from buildfarm.oci.manifest import Descriptor, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.releases.base import Base
from buildfarm.releases.compose import compose, release_of
from buildfarm.releases.document import encode

NOW = 1_000_000.0
RULES = Rules(images=2, grace_seconds=10)
APP = "apps/t/a"


def digest_of(name):
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def image(name, age, release, *tags):
    digest = digest_of(name)
    names = frozenset({digest, release.digest, *release.names})
    return Stored(APP, digest, NOW - age, frozenset(tags), names, release=release.digest)


def release(name, age):
    digest = digest_of(name)
    return Stored(APP, digest, NOW - age, names=frozenset({digest, f"{name}'s layer"}), is_release=True)


def kept(*found, used=(), rules=RULES):
    return {
        item.digest: reason for item, reason in choose(found, dict.fromkeys(used, Reason.RECORD), rules, NOW).staying
    }


def test_a_release_stays_with_its_image_and_goes_with_the_last_one():
    made = release("made", 500)
    first, second = image("first", 500, made), image("second", 400, made, "latest")
    newer = [image(f"newer{number}", 20, release(f"other{number}", 20)) for number in range(3)]
    assert kept(made, first, second, *newer)[made.digest] is Reason.PART
    assert made.digest not in kept(made, first, *newer)
    assert kept(made, first, *newer, used=[first.digest])[made.digest] is Reason.PART


def test_a_release_without_an_image_stays_for_the_grace_and_is_none_of_the_newest():
    early, late = release("early", 5), release("late", 50)
    images = [image(f"image{number}", 20 + number, release(f"other{number}", 20)) for number in range(2)]
    found = kept(early, late, *images)
    assert found[early.digest] is Reason.YOUNG
    assert late.digest not in found
    assert all(found[one.digest] is Reason.NEWEST for one in images)


def test_rebases_push_no_build_out():
    moved = release("moved", 900)
    bases = [image(f"base{number}", 20 + number, moved) for number in range(10)]
    older = release("older", 950)
    before = image("before", 940, older)
    found = kept(moved, older, before, *bases)
    assert found[bases[0].digest] is found[before.digest] is Reason.NEWEST
    assert set(found) == {bases[0].digest, before.digest, moved.digest, older.digest}
    by_age = kept(moved, older, before, *bases, rules=Rules(images=2, grace_seconds=10, policies={APP: Keep(25, 2)}))
    assert {bases[number].digest for number in range(5)} <= set(by_age)


def test_an_image_on_another_base_has_the_grace_from_its_replacement_on():
    moved = release("moved", 900)
    before = [image(f"before{number}", 500 + number, moved) for number in range(2)]
    newest = image("newest", 9, moved, "latest")
    found = kept(moved, newest, *before, rules=Rules(images=0, grace_seconds=10))
    assert [found.get(one.digest) for one in (newest, *before)] == [Reason.TAG, Reason.YOUNG, Reason.YOUNG]
    newest = image("newest", 11, moved, "latest")
    assert set(kept(moved, newest, *before)) == {newest.digest, moved.digest}


def test_what_is_stored_names_what_the_collection_reads():
    base_config = canonical_json(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of("diff")]}}
    )
    types = media_types("docker")
    blob = Descriptor(types.layers["gzip"], Digest(digest_of("base layer")), 5)
    manifest = Manifest(types.manifest, Descriptor(types.config, Digest.of(base_config), 5), (blob,))
    base = Base("builder", Digest.of(manifest.encode()), manifest, base_config)
    layer = AddedLayer(LayerDigests(Digest(digest_of("own")), Digest(digest_of("own diff")), 5, 10), "made")
    made = release_of(
        base, [layer], changes=RuntimeConfig(), kind="docker", compression="gzip", registry="registry.example.org"
    )
    stored, composed = encode(made), compose(made, base)
    found = Content.parse(composed.manifest)
    assert (found.release, found.is_release) == (stored.digest, False)
    assert found.names == {stored.digest, Digest.of(composed.config), digest_of("base layer"), digest_of("own")}
    of_release = Content.parse(stored.manifest)
    assert (of_release.release, of_release.is_release) == ("", True)
    assert of_release.names == {Digest.of(stored.document), digest_of("own")}


@pytest.mark.parametrize(
    "told", [None, [], {}, {"annotations": [1], "layers": None}, {"annotations": {"io.buildfarm.release": 1}}]
)
def test_content_that_names_nothing(told):
    assert Content.parse(json.dumps(told).encode() if told is not None else b"no JSON") == Content()
