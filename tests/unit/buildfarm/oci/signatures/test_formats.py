"""The formats of signatures: equal bytes when made again, and nothing but the right key and content is accepted."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RequestError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, ImageConfig, Manifest
from buildfarm.oci.signatures import bundle, dsse, referrers, simple
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.signer import FileSigner

IMAGE = Digest.of(b"image")
SUBJECT = Descriptor("application/vnd.oci.image.manifest.v1+json", IMAGE, 5)
REFERENCE = "127.0.0.1:5000/apps/demo/python:latest"
STATEMENT = dsse.Statement(IMAGE, dsse.COSIGN_SIGN, {})


def signer(number=1):
    key = ec.derive_private_key(number, ec.SECP256R1())
    return FileSigner(key, PublicKey.of(key.public_key()))


A, B = signer(7), signer(8)

digests = st.binary(max_size=8).map(Digest.of)
statements = st.builds(
    dsse.Statement,
    digests,
    st.sampled_from([dsse.COSIGN_SIGN, "https://slsa.dev/provenance/v1"]),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.text(max_size=10),
)


def test_the_payload_is_what_containers_image_reads():
    payload = json.loads(simple.payload_of(IMAGE, REFERENCE))
    assert payload == {
        "critical": {
            "identity": {"docker-reference": REFERENCE},
            "image": {"docker-manifest-digest": IMAGE},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    assert simple.signed_image(simple.payload_of(IMAGE, REFERENCE)) == (simple.repository_of(REFERENCE), IMAGE)
    assert simple.signed_image(b"{}") == simple.signed_image(b"[") == ("", "")
    assert simple.repository_of("host:5000/a/b:tag") == simple.repository_of("host:5000/a/b") == "a/b"


@given(st.integers(1, 2**200), digests)
def test_signing_again_makes_the_same_bytes(number, digest):
    one, again = signer(number), signer(number)
    assert simple.simple_signatures(digest, REFERENCE, [one]) == simple.simple_signatures(digest, REFERENCE, [again])
    statement = dsse.Statement(digest, dsse.COSIGN_SIGN, {})
    assert bundle.Bundle.sign(statement, SUBJECT, one) == bundle.Bundle.sign(statement, SUBJECT, again)


def test_the_same_key_over_the_manifest_that_is_there_changes_nothing():
    first = simple.simple_signatures(IMAGE, REFERENCE, [A])
    assert simple.simple_signatures(IMAGE, REFERENCE, [A], first.manifest) == first


def test_a_signature_that_is_not_deterministic_is_kept():
    class Random:
        public_key = A.public_key

        def sign(self, content):
            return A.private_key.sign(content, ec.ECDSA(simple_hash()))

    first = simple.simple_signatures(IMAGE, REFERENCE, [Random()])
    assert simple.simple_signatures(IMAGE, REFERENCE, [Random()], first.manifest) == first


def simple_hash():
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def test_another_key_is_added_and_a_foreign_signature_stays():
    first = simple.simple_signatures(IMAGE, REFERENCE, [A])
    both = simple.simple_signatures(IMAGE, REFERENCE, [B], first.manifest)
    layers = Manifest.parse(both.manifest).layers
    made = [[k.public_key.made(simple.signature_of(layer), both.payload) for layer in layers] for k in (A, B)]
    assert made == [[False, True], [True, False]]
    assert Manifest.parse(both.manifest).config.digest == Digest.of(simple.CONFIG)


def test_the_config_of_signatures_has_all_that_an_image_config_must_have():
    config = ImageConfig.parse(simple.CONFIG)
    assert (config.architecture, config.os, config.diff_ids) == ("", "", ())
    assert {"architecture", "os", "rootfs"} <= json.loads(simple.CONFIG).keys()


def test_the_same_signatures_with_another_config_stay_as_they_are():
    older = Manifest.parse(simple.simple_signatures(IMAGE, REFERENCE, [A]).manifest)
    before = replace(older, config=replace(older.config, digest=Digest.of(b"older"))).encode()
    assert simple.simple_signatures(IMAGE, REFERENCE, [A], before).manifest == before


def test_the_tags_are_those_that_tools_look_for():
    assert simple.tag_of(IMAGE) == f"sha256-{IMAGE.hex}.sig"
    assert referrers.tag_of(IMAGE) == f"sha256-{IMAGE.hex}"


def test_the_signed_bytes_are_those_of_the_dsse_specification():
    assert dsse.signed_bytes(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    assert dsse.signed_bytes("ü".encode()).startswith(b"DSSEv1 28 application/vnd.in-toto+json 2 ")


@given(statements)
def test_a_bundle_gives_its_statement_to_its_key_alone(statement):
    made = bundle.Bundle.sign(statement, SUBJECT, A)
    assert bundle.opened(made.blob, A.public_key) == statement
    with pytest.raises(ValueError, match="not signed by this key"):
        bundle.opened(made.blob, B.public_key)


@given(st.data())
def test_no_changed_bundle_is_taken_for_another_statement(data):
    blob = bundle.Bundle.sign(STATEMENT, SUBJECT, A).blob
    place = data.draw(st.integers(0, len(blob) - 1))
    changed = blob[:place] + bytes([blob[place] ^ data.draw(st.integers(1, 255))]) + blob[place + 1 :]
    try:
        found = bundle.opened(changed, A.public_key)
    except ValueError:
        return
    assert found == STATEMENT  # only what is not signed was changed


def test_the_manifest_of_a_bundle_has_neither_time_nor_host():
    made = bundle.Bundle.sign(STATEMENT, SUBJECT, A)
    fields = json.loads(made.manifest)
    assert fields["artifactType"] == bundle.BUNDLE_TYPE
    assert fields["subject"] == {"mediaType": SUBJECT.media_type, "digest": IMAGE, "size": 5}
    assert fields["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert fields["annotations"] == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": dsse.COSIGN_SIGN,
    }
    hint = json.loads(made.blob)["verificationMaterial"]["publicKey"]["hint"]
    assert hint == A.public_key.hint
    assert len(base64.b64decode(hint)) == 32


entries = st.lists(digests.map(lambda digest: {"digest": str(digest), "size": 1}), max_size=6)


@given(entries, entries)
def test_an_index_keeps_foreign_entries_and_gets_each_entry_once(before, new):
    old = referrers.index_of(before)
    index = referrers.index_of(new, old)
    found = [entry["digest"] for entry in referrers.listed(index)]
    assert len(found) == len(set(found))
    assert set(found) == {entry["digest"] for entry in (*before, *new)}
    assert referrers.index_of(new, index) == index


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"manifests": [1]}', b'{"manifests": 1}', b"null"])
def test_what_is_not_an_index_is_refused(text):
    with pytest.raises(ValueError, match="not an index"):
        referrers.index_of([], text)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b'{"dsseEnvelope": {}}', b'{"dsseEnvelope": {"payload": 1}}']
)
def test_what_is_not_a_bundle_is_refused(text):
    with pytest.raises(ValueError, match="not a"):
        bundle.opened(text, A.public_key)


def test_a_public_key_goes_through_pem():
    assert PublicKey.parse(A.public_key.pem.encode()) == A.public_key


def test_a_key_on_another_curve_is_refused():
    with pytest.raises(RequestError, match="P-256"):
        PublicKey.of(ec.derive_private_key(5, ec.SECP384R1()).public_key())
    with pytest.raises(RequestError, match="PEM"):
        PublicKey.parse(b"no key")


def test_a_signature_that_is_not_ascii_is_none():
    layer = Descriptor("text/plain", Digest.of(b""), 0, {simple.SIGNATURE: "é"})
    assert simple.signature_of(layer) == b""
