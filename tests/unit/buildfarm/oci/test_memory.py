"""Documents that are named by a digest are read once; tags are read each time."""

from __future__ import annotations

import json

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.memory import RememberedDocuments

TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": Digest.of(b"c"), "size": 1}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": TYPE, "config": CONFIG, "layers": []}).encode()
NAME = Digest.of(MANIFEST)


class Registry:
    """Counts what it is asked for."""

    def __init__(self):
        self.asked = []

    def get_manifest(self, repository, reference):
        self.asked.append((repository, reference))
        return TYPE, MANIFEST, NAME

    def read_blob(self, repository, digest):
        if not self.asked:
            raise RegistryError("down")
        self.asked.append((repository, digest))
        return b"1234"


def test_what_has_a_digest_is_read_once_in_each_repository():
    registry = Registry()
    documents = RememberedDocuments(registry)
    first = documents.read_manifest("a", NAME)
    assert documents.read_manifest("a", NAME) == first
    assert first[1] == NAME
    documents.read_manifest("b", NAME)
    assert [documents.read_blob("a", Digest.of(b"1234")) for _ in range(2)] == [b"1234"] * 2
    assert registry.asked == [("a", NAME), ("b", NAME), ("a", Digest.of(b"1234"))]


def test_a_tag_is_read_each_time():
    registry = Registry()
    documents = RememberedDocuments(registry)
    for _ in range(2):
        documents.read_manifest("a", "latest")
    assert len(registry.asked) == 2


def test_what_was_used_longest_ago_goes_first():
    registry = Registry()
    registry.asked.append(())
    documents = RememberedDocuments(registry, limit_bytes=9)
    first, second, third = (Digest.of(bytes([number])) for number in range(3))
    for digest in (first, second, first, third, first, second):
        documents.read_blob("a", digest)
    assert [digest for _, digest in registry.asked[1:]] == [first, second, third, second]


def test_a_failure_is_not_remembered():
    registry = Registry()
    documents = RememberedDocuments(registry)
    with pytest.raises(RegistryError):
        documents.read_blob("a", NAME)
    registry.asked.append(())
    assert documents.read_blob("a", NAME) == b"1234"
