"""Pages over several sources: each build once, in order, and no more packs read than a page may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RegistryError
from buildfarm.model import Build, BuildRequest, State
from buildfarm.sources.address import ArtifactSource
from buildfarm.store.archive.listing import Entry, Listing, Unread

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="t", app="a", source=SOURCE)
STATES = [State.SUCCEEDED, State.FAILED]


def build_at(number: int) -> Entry:
    build = Build(id=f"b{number:04}", request=REQUEST, state=STATES[number % 2], submitted_at=float(number // 2))
    return Entry((build.submitted_at, build.id), build.state, lambda: build)


class Packs:
    """Sources of these numbers' builds; `read` says which were read."""

    def __init__(self, packs: list[list[int]], damaged: frozenset[int] = frozenset()) -> None:
        self.packs, self.damaged = packs, damaged
        self.read: list[int] = []

    def sources(self) -> list[Unread]:
        def source(which: int) -> Unread:
            def read():
                self.read.append(which)
                if which in self.damaged:
                    raise RegistryError("It is gone.")
                return [build_at(number) for number in self.packs[which]], None

            return Unread(max(self.packs[which]) // 2, read, f"pack {which}")

        return [source(which) for which in range(len(self.packs)) if self.packs[which]]


def pages(packs: Packs, limit: int, states=()) -> list[list[Build]]:
    found, after = [], ""
    while after is not None:
        packs.read = []
        builds, after = Listing(packs.sources(), after, 2).page(limit, states)
        assert len(builds) <= limit
        found.append(builds)
    return found


numbers = st.lists(st.lists(st.integers(0, 40), max_size=8, unique=True), max_size=5)


@given(numbers, st.integers(1, 10), st.sampled_from([(), (State.FAILED,)]))
def test_pages_together_are_every_build_once_and_in_order(found, limit, states):
    shown = [build for page in pages(Packs(found), limit, states) for build in page]
    every = {number for pack in found for number in pack}
    entries = sorted((build_at(number) for number in every), key=lambda entry: entry.position, reverse=True)
    assert shown == [entry.load() for entry in entries if not states or entry.state in states]


def test_a_page_reads_two_packs_and_the_next_one_goes_on():
    packs = Packs([[0, 1], [2, 3], [4, 5], [6, 7]])
    builds, after = Listing(packs.sources(), "", 2).page(50, ())
    assert [build.id for build in builds] == ["b0007", "b0006", "b0005", "b0004"]
    assert packs.read == [3, 2]
    assert after is not None


def test_a_page_that_is_full_reads_no_more():
    packs = Packs([[0, 1], [2, 3]])
    builds, _ = Listing(packs.sources(), "", 2).page(2, ())
    assert [build.id for build in builds] == ["b0003", "b0002"]
    assert packs.read == [1]


def test_a_damaged_pack_is_named_and_the_others_are_shown():
    packs = Packs([[0, 1], [2, 3], [4, 5]], damaged=frozenset({1}))
    listing = Listing(packs.sources(), "", 3)
    builds, after = listing.page(50, ())
    assert [build.id for build in builds] == ["b0005", "b0004", "b0001", "b0000"]
    assert after is None
    assert listing.lost == ["pack 1, cannot be shown: It is gone."]
