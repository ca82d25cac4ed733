"""Packs in a registry: put, read in parts, joined, and named where they are damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RegistryError
from buildfarm.events import LogLine
from buildfarm.model import Phase
from buildfarm.oci.digest import Digest
from buildfarm.oci.reference import check_repository, check_tag
from buildfarm.store.archive.log_text import decode_log, encode_log
from buildfarm.store.archive.pack import Pack, join, make
from buildfarm.store.archive.plan import BUILDS_MAX, BYTES_MAX, Shelved, taken_in
from buildfarm.store.archive.shelf import Shelf, repository_of, shelved, tag_of

DIGEST = Digest("sha256:" + "0" * 64)


@pytest.fixture
def shelf(registry):
    return Shelf(registry, "archive/shop/web")


def pack_of(*numbers: int, log: bool = True) -> Pack:
    def line(number: int) -> LogLine:
        return LogLine(position="1-1", attempt=1, phase=Phase.COMPILE, text=f"this is {number}")

    return make(
        ({"id": f"b{n}", "submitted_at": f"{n}.000000"}, encode_log([line(n)]) if log else b"") for n in numbers
    )


def test_one_request_reads_an_index_and_one_more_a_log(fake, shelf):
    kept = shelf.put(pack_of(1, 2, 3))
    fake.log.clear()
    index = shelf.index(kept)
    content = shelf.log(index, index.rows[1])
    assert [line.text for line in decode_log(content)] == ["this is 2"]
    assert [entry.partition(" ")[0] for entry in fake.log] == ["GET", "GET"]


def test_a_pack_without_any_log(shelf):
    pack = pack_of(1, 2, log=False)
    kept = shelf.put(pack)
    assert shelf.pack(kept) == pack
    assert shelf.log(shelf.index(kept), pack.rows[0]) == b""


def test_what_redis_knows_comes_back_and_a_later_version_may_add_to_it(shelf):
    kept = shelf.put(pack_of(1, 2))
    assert Shelved.decode(kept.encode()) == kept
    assert Shelved.decode(kept.encode() + " more") == kept


def test_every_pack_has_a_tag_of_its_own(fake, shelf):
    first = pack_of(1, 2)
    old, kept = shelf.put(first), shelf.put(join([first, pack_of(3)]))
    assert tag_of(old) != tag_of(kept) == check_tag(tag_of(kept))
    manifests = fake.repository("archive/shop/web").manifests
    assert manifests[tag_of(kept)] == manifests[str(kept.manifest)] != manifests[tag_of(old)]
    assert shelf.pack(kept).rows[0].id == "b1"


@pytest.mark.parametrize("what", ["missing", "changed"])
def test_a_damaged_index_is_named(fake, shelf, what):
    kept = shelf.put(pack_of(1))
    blobs = fake.repository("archive/shop/web").blobs
    if what == "missing":
        del blobs[kept.index]
    else:
        blobs[kept.index] = b"other"
    with pytest.raises(RegistryError, match=f"archive/shop/web.*{kept.index}"):
        shelf.index(kept)


@pytest.mark.parametrize("place", ["shop/web", "images/python:3.13-slim", "images/tools-go:1..2_", "a/b-"])
def test_every_place_has_a_repository_of_its_own(place):
    assert check_repository(repository_of(place)).startswith("archive/")
    assert repository_of(place) != repository_of(place + "x")


def ref(builds: int, size: int, at: float) -> Shelved:
    return Shelved(DIGEST, DIGEST, builds, size, at, at)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.sampled_from([1000, 3_000_000]))
def test_packs_stay_few_and_within_their_bounds(added, size):
    packs: list[Shelved] = []
    written = 0
    for number, builds in enumerate(added):
        new = ref(builds, builds * size // 40, number)
        old = taken_in(packs, new)
        whole = [*old, new]
        joined = ref(sum(p.builds for p in whole), sum(p.data_bytes for p in whole), number)
        assert joined.builds <= BUILDS_MAX
        assert not old or joined.data_bytes <= BYTES_MAX
        packs = [pack for pack in packs if pack not in old] + [joined]
        written += joined.builds
    assert sum(pack.builds for pack in packs) == sum(added)
    assert written <= 9 * sum(added)  # each build about once for each doubling of its pack


def test_an_app_with_a_build_an_hour_has_few_packs():
    packs: list[Shelved] = []
    for hour in range(24 * 30):
        new = ref(1, 2000, hour * 3600.0)
        old = taken_in(packs, new)
        packs = [pack for pack in packs if pack not in old]
        packs.append(
            Shelved(
                DIGEST,
                DIGEST,
                1 + sum(p.builds for p in old),
                2000,
                min([new.first, *(p.first for p in old)]),
                new.last,
            )
        )
    assert len(packs) <= 12


def test_shelved_says_what_put_says(shelf):
    pack = pack_of(4, 5)
    assert shelved(pack) == shelf.put(pack)
