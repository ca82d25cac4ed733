"""The documents of a move that the signer gets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest
from buildfarm.releases.signing import documents


def test_an_image_that_cannot_be_written_again_is_left_out(monkeypatch):
    encoded = SimpleNamespace(media_type="m", manifest=b"manifest", document=b"document")
    monkeypatch.setattr(documents, "encode", lambda release: encoded)
    image = SimpleNamespace(media_type="i", manifest=b"image")
    plain = Manifest("p", Descriptor("c", Digest.of(b""), 0), ())
    assert len(documents.documents_of(None, plain, image)) == 4
    bad = replace(plain, annotations={"x": "\ud800"})
    assert [content for _, content in documents.documents_of(None, bad, image).values()] == [
        b"image",
        b"manifest",
        b"document",
    ]
