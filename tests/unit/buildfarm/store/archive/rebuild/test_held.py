"""Which packs of a registry are listed when the list is made anew."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.store.archive.pack import Pack, join, make
from buildfarm.store.archive.rebuild.held import Held, needed, owner_of
from buildfarm.store.archive.shelf import repository_of, shelved

numbers = st.sets(st.integers(0, 30), min_size=1, max_size=8)


def pack_of(builds: set[int]) -> Pack:
    return make(({"id": f"b{n}", "submitted_at": f"{n}.000000", "place": "t a apps/t/a"}, b"") for n in builds)


def held(pack: Pack) -> Held:
    return Held.of(shelved(pack), pack.rows)


def ids(packs: list[Held]) -> set[str]:
    return {build_id for pack in packs for build_id in pack.ids}


@given(st.lists(numbers, max_size=8))
def test_no_build_is_left_out_and_no_pack_is_listed_for_nothing(found):
    packs = [held(pack_of(builds)) for builds in found]
    kept, taken_in = needed(packs)
    assert ids(kept) == ids(packs)
    assert sorted([*kept, *taken_in], key=id) == sorted(packs, key=id)
    for position, pack in enumerate(kept):
        assert not ids([pack]) <= ids(kept[:position])


def test_a_pack_that_was_joined_into_another_is_not_listed_beside_it():
    first, second = pack_of({1, 2}), pack_of({3})
    whole = join([first, second])
    kept, taken_in = needed([held(first), held(whole), held(second)])
    assert kept == [held(whole)]
    assert {one.pack for one in taken_in} == {shelved(first), shelved(second)}


def test_of_a_pack_its_builds_and_the_sources_of_their_images_are_kept():
    image, source = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    record = {
        "id": "b1", "submitted_at": "1.000000", "place": "t a apps/t/a", "state": "succeeded",
        "request": json.dumps({"source": {"digest": source}}), "result": json.dumps({"digest": image}),
    }  # fmt: skip
    pack = make([(record, b"")])
    assert Held.of(shelved(pack), pack.rows) == Held("t/a", shelved(pack), [(1.0, "b1")], {image: source})


def test_a_record_says_whose_build_it_is():
    assert owner_of({"place": "shop web apps/shop/web"}) == "shop/web"
    assert owner_of({}) == ""
    assert repository_of(owner_of({"place": "images postgres:17 images/postgres:17"})) != ""
