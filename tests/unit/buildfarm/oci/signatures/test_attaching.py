"""Signatures in a registry: what is pushed, what is kept, and what `verify` accepts."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from buildfarm.errors import RegistryError, SignatureError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import INDEX_TYPES, Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import bundle, checking, referrers, simple
from buildfarm.oci.signatures.attaching import Attaching, Unsigned
from buildfarm.oci.signatures.dsse import Statement
from testkit.registry.fake import FakeRegistry
from tests.unit.buildfarm.oci.signatures.test_formats import A, B

REPOSITORY = "apps/t/a"
PROVENANCE = "https://slsa.dev/provenance/v1"


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", pause=lambda _: None) as client:
        yield client


def pushed(registry, text="1", tag="latest"):
    types = media_types("docker")
    layer = registry.put_blob(REPOSITORY, text.encode())
    config = canonical_json({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [layer], "type": "layers"}})
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(REPOSITORY, config), len(config)),
        (Descriptor(types.layers["none"], layer, len(text)),),
    ).encode()
    digest = registry.put_manifest(REPOSITORY, manifest, types.manifest, tag=tag)
    return Unsigned(
        REPOSITORY, Descriptor(types.manifest, digest, len(manifest)), f"{registry.host}/{REPOSITORY}:{tag}"
    )


def verified(registry, *signers, reference="latest"):
    return checking.verify(registry, REPOSITORY, reference, [one.public_key for one in signers])


def test_a_signed_image_is_verified_in_both_forms(registry):
    image = pushed(registry)
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A) == checking.Verified(image.subject.digest, ("tag", "bundle"), ())
    assert verified(registry, B, A).digest == image.subject.digest


def test_signing_again_writes_nothing(registry, fake):
    image = pushed(registry)
    Attaching(registry, [A]).sign(image)
    before = {tag: fake.repository(REPOSITORY).manifests[tag] for tag in fake.repository(REPOSITORY).manifests}
    fake.log.clear()
    Attaching(registry, [A]).sign(image)
    assert not [line for line in fake.log if line.startswith(("PUT", "POST", "PATCH"))]
    assert fake.repository(REPOSITORY).manifests == before


SHARED = {str(Digest.of(blob)): blob for blob in (simple.CONFIG, simple.EMPTY)}


def test_what_has_no_tag_is_sent_before_earlier_signatures_of_a_new_image_were_looked_for(registry, monkeypatch):
    image, is_sent, waited = pushed(registry), threading.Event(), []
    look, put = Attaching._manifest, Attaching._put

    def look_late(self, repository, tag):
        waited.append(is_sent.wait(10))
        return look(self, repository, tag)

    def tell(self, repository, manifest, tag):
        put(self, repository, manifest, tag)
        if tag is None:
            is_sent.set()

    monkeypatch.setattr(Attaching, "_manifest", look_late)
    monkeypatch.setattr(Attaching, "_put", tell)
    Attaching(registry, [A]).sign(image, is_new=True)
    assert waited == [True, True]
    assert verified(registry, A).forms == ("tag", "bundle")


def test_the_shared_blobs_are_sent_once_and_then_taken_over(registry, fake):
    attaching = Attaching(registry, [A])
    for number in range(2):
        attaching.sign(pushed(registry, str(number)))
    here, copy = fake.repository(OTHER), replace(pushed(registry), repository=OTHER)
    fake.log.clear()
    here.blobs.update({name: blob for name, blob in fake.repository(REPOSITORY).blobs.items() if name not in SHARED})
    attaching.sign(copy)
    uploads = [line for line in fake.log if line == f"POST /v2/{OTHER}/blobs/uploads/"]
    ends = [line for line in fake.log if line.startswith(f"PUT /v2/{OTHER}/blobs/uploads/")]
    assert len(uploads) == len(ends) + 2  # two of them are mounts
    assert {name: here.blobs[name] for name in SHARED} == SHARED
    assert not [line for line in fake.log if line.startswith("HEAD")]


def test_a_registry_that_refuses_to_mount_gets_the_shared_blobs_sent(registry, fake, monkeypatch):
    def refuse(*_):
        raise RegistryError("401")

    attaching = Attaching(registry, [A])
    attaching.sign(pushed(registry))
    copy = replace(pushed(registry), repository=OTHER)
    monkeypatch.setattr(Registry, "mount", refuse)
    attaching.sign(copy)
    assert fake.repository(OTHER).blobs.keys() >= SHARED.keys()


@pytest.mark.parametrize("gone", SHARED)
def test_a_shared_blob_that_was_collected_is_sent_again(registry, fake, gone):
    attaching = Attaching(registry, [A])
    attaching.sign(pushed(registry))
    del fake.repository(REPOSITORY).blobs[gone]
    image = pushed(registry, "2")
    attaching.sign(image)
    assert verified(registry, A).digest == image.subject.digest


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_an_interrupted_signature_is_completed(registry, fake, form):
    image = pushed(registry)
    Attaching(registry, [A]).sign(image)
    name = simple.tag_of if form == "bundle" else referrers.tag_of
    del fake.repository(REPOSITORY).manifests[name(image.subject.digest)]
    assert verified(registry, A).forms == (form,)
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A).forms == ("tag", "bundle")


def test_another_key_is_refused(registry):
    Attaching(registry, [A]).sign(pushed(registry))
    with pytest.raises(SignatureError, match="no signature by a key"):
        verified(registry, B)


def test_an_unsigned_image_is_refused(registry):
    pushed(registry)
    with pytest.raises(SignatureError, match="no signature by a key"):
        verified(registry, A)


def test_signatures_copied_from_another_image_are_refused(registry, fake):
    signed, other = pushed(registry), pushed(registry, "2", "other")
    Attaching(registry, [A]).sign(signed)
    manifests = fake.repository(REPOSITORY).manifests
    for name in (simple.tag_of, referrers.tag_of):
        manifests[name(other.subject.digest)] = manifests[name(signed.subject.digest)]
    with pytest.raises(SignatureError):
        verified(registry, A, reference="other")


OTHER = "apps/t/other"


def copied(registry, fake, *names):
    """An image of another repository with what is attached to it; of the manifests at tags, only those ``names``."""
    image = pushed(registry)
    Attaching(registry, [A]).sign(image)
    here, there = fake.repository(REPOSITORY), fake.repository(OTHER)
    there.blobs.update(here.blobs)
    tags = {name(image.subject.digest) for name in names} | {"latest"}
    there.manifests.update({k: v for k, v in here.manifests.items() if k.startswith("sha256:") or k in tags})


@pytest.mark.parametrize("names", [(simple.tag_of,), (referrers.tag_of,), (simple.tag_of, referrers.tag_of)])
def test_an_image_that_was_copied_with_its_signatures_to_another_repository_is_refused(registry, fake, names):
    copied(registry, fake, *names)
    assert registry.has_manifest(OTHER, "latest")
    with pytest.raises(SignatureError):
        checking.verify(registry, OTHER, "latest", [A.public_key])


@pytest.mark.parametrize("junk", [b"[]", b"{}", b'{"manifests": 1}', b"not json"])
@pytest.mark.parametrize("name", [simple.tag_of, referrers.tag_of])
def test_what_cannot_be_read_at_the_tags_is_replaced(registry, fake, junk, name):
    image = pushed(registry)
    found = fake.repository(REPOSITORY).manifests
    found[name(image.subject.digest)] = (INDEX_TYPES["oci"], junk)
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A).forms == ("tag", "bundle")


@pytest.mark.parametrize("content", [{"subject": 1, "layers": []}, {"subject": [1]}, [1]])
def test_a_listed_manifest_of_another_form_is_passed_over(registry, fake, content):
    image = pushed(registry)
    odd = json.dumps(content).encode()
    found = fake.repository(REPOSITORY).manifests
    found[str(Digest.of(odd))] = (INDEX_TYPES["oci"], odd)
    index = canonical_json({"manifests": [{"digest": Digest.of(odd)}]})
    found[referrers.tag_of(image.subject.digest)] = (INDEX_TYPES["oci"], index)
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A).forms == ("tag", "bundle")


def test_what_others_have_listed_and_removed_is_listed_no_more(registry, fake):
    image = pushed(registry)
    Attaching(registry, [B]).sign(image)
    found = fake.repository(REPOSITORY).manifests
    tag = referrers.tag_of(image.subject.digest)
    [listed] = referrers.listed(found[tag][1])
    gone = {**listed, "digest": "sha256:" + "0" * 64}
    found[tag] = (INDEX_TYPES["oci"], referrers.index_of([gone, listed]))
    Attaching(registry, [A]).sign(image)
    entries = [one["digest"] for one in referrers.listed(found[tag][1])]
    assert listed["digest"] in entries
    assert gone["digest"] not in entries
    assert verified(registry, A).forms == ("tag", "bundle")


def test_a_statement_about_an_image_is_not_its_signature(registry):
    image = pushed(registry)
    Attaching(registry, [A]).attach(image, Statement(image.subject.digest, PROVENANCE, {"a": "b"}, image.name))
    with pytest.raises(SignatureError):
        verified(registry, A)
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A).statements == (PROVENANCE,)


def test_a_statement_by_another_key_does_not_count(registry):
    image = pushed(registry)
    Attaching(registry, [B]).attach(image, Statement(image.subject.digest, PROVENANCE, {}))
    Attaching(registry, [A]).sign(image)
    assert verified(registry, A).statements == ()


def test_what_others_have_attached_stays(registry):
    image = pushed(registry)
    other = pushed(registry, "3", "other").subject
    foreign = other.to_json()
    registry.put_manifest(
        REPOSITORY, referrers.index_of([foreign]), INDEX_TYPES["oci"], tag=referrers.tag_of(image.subject.digest)
    )
    Attaching(registry, [B]).sign(image)
    Attaching(registry, [A]).sign(image)
    index = registry.get_manifest(REPOSITORY, referrers.tag_of(image.subject.digest))[1]
    assert len(referrers.listed(index)) == 3
    assert verified(registry, A).forms == verified(registry, B).forms == ("tag", "bundle")


def test_an_entry_that_another_writer_overwrote_is_written_again(registry, fake, monkeypatch):
    image = pushed(registry)
    other = pushed(registry, "3", "other").subject
    tag = referrers.tag_of(image.subject.digest)
    real, overwritten = Registry.put_manifest, []

    def put(self, repository, content, media_type, *, tag=None):
        digest = real(self, repository, content, media_type, tag=tag)
        if tag == index_tag and not overwritten:
            overwritten.append(tag)
            real(self, repository, referrers.index_of([other.to_json()]), media_type, tag=tag)
        return digest

    index_tag = tag
    Attaching(registry, [B]).sign(image)  # there is an index already
    monkeypatch.setattr(Registry, "put_manifest", put)
    Attaching(registry, [A]).sign(image)
    assert overwritten
    assert verified(registry, A).forms == ("tag", "bundle")


def test_a_registry_that_fails_on_the_way_fails_the_signature(registry, fake):
    image = pushed(registry)
    fake.faults.extend([("GET", 503)] * 20)
    with pytest.raises(RegistryError):
        Attaching(registry, [A]).sign(image)


def test_changed_content_is_found(registry, fake):
    image = pushed(registry)
    assert checking.check_content(registry, REPOSITORY, image.subject.digest) > 0
    fake.repository(REPOSITORY).blobs[str(Digest.of(b"1"))] = b"2"
    with pytest.raises(RegistryError):
        checking.check_content(registry, REPOSITORY, image.subject.digest)


def test_a_bundle_in_the_registry_names_its_image(registry):
    image = pushed(registry)
    Attaching(registry, [A]).sign(image)
    index = registry.get_manifest(REPOSITORY, referrers.tag_of(image.subject.digest))[1]
    [entry] = referrers.listed(index)
    assert entry["artifactType"] == bundle.BUNDLE_TYPE
    manifest = json.loads(registry.get_manifest(REPOSITORY, entry["digest"])[1])
    assert manifest["subject"]["digest"] == image.subject.digest
