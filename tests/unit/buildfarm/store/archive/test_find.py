"""Packs are found by what the registry lists."""

from __future__ import annotations

import pytest

from buildfarm.errors import RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, media_types
from buildfarm.store.archive.pack import make
from buildfarm.store.archive.shelf import Shelf

CONFIG = b"{}"


@pytest.fixture
def shelf(registry):
    return Shelf(registry, "archive/shop/web")


def test_a_pack_is_found_by_its_tag_as_it_was_put(registry, shelf):
    pack = make(({"id": f"b{n}", "submitted_at": f"{n}.500000"}, b"log") for n in range(3))
    kept = shelf.put(pack)
    found = [shelf.find(tag) for tag in registry.tags("archive/shop/web")]
    assert [one for one, _ in found] == [kept]
    assert found[0][1].rows == pack.rows


def test_what_is_not_a_pack_is_named(registry, shelf):
    registry.put_blob(shelf.repository, CONFIG)
    other = Manifest(media_types("oci").manifest, Descriptor("config", Digest.of(CONFIG), 2), ())
    registry.put_manifest(shelf.repository, other.encode(), other.media_type, tag="other")
    with pytest.raises(RegistryError, match="archive/shop/web@sha256"):
        shelf.find("other")


def test_all_names_are_listed_however_many_pages_they_take(monkeypatch, registry):
    monkeypatch.setattr("buildfarm.oci.registry._PAGE", 2)
    expected = [f"archive/t/a{n}" for n in range(5)]
    for repository in expected:
        registry.put_blob(repository, CONFIG)
        other = Manifest(media_types("oci").manifest, Descriptor("config", Digest.of(CONFIG), 2), ())
        for tag in ("one", "three", "two"):
            registry.put_manifest(repository, other.encode(), other.media_type, tag=tag)
    assert [name for name in registry.repositories() if name in expected] == expected
    assert list(registry.tags("archive/t/a0")) == ["one", "three", "two"]


def test_a_list_that_is_no_json_is_the_registrys_fault(fake, registry):
    registry.put_blob("t/a", CONFIG)
    fake.faults.append(("GET", "other-content"))
    with pytest.raises(RegistryError, match="not JSON"):
        list(registry.repositories())
