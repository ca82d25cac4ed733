"""Parts of the audit log in a registry: put, read, and named if they are damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.reference import check_repository, check_tag
from buildfarm.store.archive.audit.parts import REPOSITORY, KeptEntry, Part, packed, put_part, read_part
from buildfarm.store.archive.shelf import ARCHIVE

DAY = 86_400_000
ENTRIES = [KeptEntry(f"{3 * DAY + n}-0", f'{{"who":"Zoë\\n{n}"}}', f"{n:064x}") for n in range(50)]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_entries_are_read_as_they_were_put(registry):
    part = put_part(registry, ENTRIES, "-")
    assert read_part(registry, part) == ENTRIES
    assert (part.count, part.first, part.last, part.before) == (50, ENTRIES[0].position, ENTRIES[-1].position, "-")
    assert (part.day, part.head) == ("1970-01-04", ENTRIES[-1].hash)
    assert registry.read_manifest(REPOSITORY, f"1970-01-04-{part.manifest.hex[:16]}")[1] == part.manifest
    assert put_part(registry, ENTRIES, "-") == part, "the same entries make the same artifact"


@given(st.lists(st.tuples(st.integers(0, 10**13), texts, texts), min_size=1, max_size=20))
def test_any_text_survives(found):
    entries = [KeptEntry(f"{at}-0", text, digest) for at, text, digest in found]
    part, _, blob = packed(entries, "-")

    class Here:
        def read_blob(self, repository, digest, *, limit_bytes):
            assert (digest, limit_bytes) == (Digest.of(blob), len(blob))
            return blob

    assert read_part(Here(), part) == entries


def test_what_redis_knows_of_a_part_is_read_back_and_a_later_version_may_add_to_it():
    part, _, _ = packed(ENTRIES, "f" * 64)
    assert Part.decode(part.encode()) == Part.decode(part.encode() + " more") == part


def test_no_pack_and_no_tenant_has_its_repository(registry):
    check_repository(REPOSITORY)
    part = put_part(registry, ENTRIES, "-")
    check_tag(f"{part.day}-{part.manifest.hex[:16]}")
    assert not REPOSITORY.startswith((ARCHIVE, "apps/", "sources/", "caches/"))


def test_a_missing_and_a_damaged_part_are_named(fake, registry):
    part = put_part(registry, ENTRIES, "-")
    del fake.repository(REPOSITORY).blobs[part.blob]
    with pytest.raises(NotInRegistryError, match=part.blob.hex):
        read_part(registry, part)
    other = registry.put_blob(REPOSITORY, b"not gzip")
    with pytest.raises(RegistryError, match=f"{other} cannot be read"):
        read_part(registry, Part(part.manifest, other, 8, 50, part.first, part.last, "-", part.head))
