"""A base's packages are compared with a suite's, by name and architecture."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc

import pytest

from buildfarm.releases.facts.components import suite
from buildfarm.releases.facts.components.models import ComponentView
from buildfarm.releases.facts.components.suite import Behind, behind, index_text


def package(name, version, architecture="amd64"):
    return ComponentView(
        kind="deb", name=name, version=version, purl=f"pkg:deb/debian/{name}@{version}?arch={architecture}",
        source=f"{name}@{version}", in_base=False, places=(),
    )  # fmt: skip


def entry(name, version, architecture="amd64"):
    return f"Package: {name}\nArchitecture: {architecture}\nVersion: {version}\nDescription: x\n Version: 9\n"


INDEX = "\n".join([
    entry("openssl", "3.5.1-1+deb13u1"), entry("openssl", "3.5.1-1+deb13u2"), entry("curl", "8.0-1"),
    entry("zlib1g", "9", "arm64"), entry("absent", "1"),
])  # fmt: skip


def test_exactly_what_the_suite_has_newer_is_behind():
    base = [package("openssl", "3.5.1-1"), package("curl", "8.14-1"), package("zlib1g", "1"), package("bash", "5")]
    assert behind(base, INDEX) == [Behind("openssl", "openssl@3.5.1-1", "3.5.1-1", "3.5.1-1+deb13u2")]
    assert behind([package("openssl", "3.5.1-1+deb13u2")], INDEX) == []


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress])
def test_an_index_is_read_as_mirrors_have_it(packed):
    assert index_text(packed(INDEX.encode())) == INDEX


@pytest.mark.parametrize("content", [b"", b"<html>", gzip.compress(b"x", mtime=0)[:-9], b"\xfd7zXZ\x00damaged"])
def test_what_is_not_an_index_is_refused(content):
    with pytest.raises(ValueError, match="it is"):
        index_text(content)


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress])
def test_a_large_index_is_not_unpacked_whole(packed, monkeypatch):
    monkeypatch.setattr(suite, "INDEX_BYTES_MAX", 100_000)
    content = packed(bytes(40_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="it is"):
        index_text(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15_000_000  # of which 8 MB are the decoder's
