"""Building A and then B on A's cache gives what building B without a cache gives, for every bundled buildpack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.buildpacks.compiles import ROOT, Workbench
from tests.integration.buildpacks.worlds import WORLDS

pytestmark = pytest.mark.usefixtures("jq")
CHANGES = [(name, change) for name, world in WORLDS.items() for change in world.all_changes()]
UNLOCKED = [(name, change) for name, change in CHANGES if change.endswith("no lock file") or "without a lock" in change]


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """For each buildpack, what one build of its app has left in the cache."""
    made: dict[str, Workbench] = {}

    def bench(name: str) -> Workbench:
        if name not in made:
            made[name] = Workbench(tmp_path_factory.mktemp(name), name)
            made[name].build(WORLDS[name].start)
            made[name].keep()
        return made[name]

    return bench


def test_every_bundled_buildpack_is_tried():
    assert WORLDS.keys() == {path.parents[1].name for path in ROOT.glob("images/buildpacks/*/bin/compile")}


@pytest.mark.parametrize(("name", "what"), CHANGES)
def test_what_is_built_on_a_cache_is_what_is_built_without_one(benches, name, what):
    bench, state = benches(name), WORLDS[name].all_changes()[what](WORLDS[name].start)
    bench.go_back()
    on_cache = bench.build(state)
    bench.empty()
    assert on_cache == bench.build(state)


@pytest.mark.parametrize(("name", "what"), UNLOCKED)
def test_without_a_lock_file_the_second_build_of_a_day_gives_what_the_first_gave(benches, name, what):
    bench, state = benches(name), WORLDS[name].all_changes()[what](WORLDS[name].start)
    bench.empty()
    assert bench.build(state) == bench.build(state)


def test_without_a_lock_file_crates_are_resolved_once_a_day(tmp_path):
    """Here by a cargo that resolves to something else each time."""
    world = WORLDS["rust"]
    state = world.all_changes()["no lock file"](world.start)
    unpacks = state.programs["dpkg"].replace("cat Cargo.toml >Cargo.lock", "date +%N >Cargo.lock")
    state, bench = replace(state, programs={**state.programs, "dpkg": unpacks}), Workbench(tmp_path, "rust")
    first = bench.build(state)
    assert bench.build(state) == first
    bench.empty()
    assert bench.build(state) != first
