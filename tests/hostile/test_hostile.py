"""The quick half of the attacks, each in a real build; `make hostile` runs them all and measures neighbours.

HOSTILE_ALSO=NAME,NAME tries others beside them.
"""

from __future__ import annotations

import os

import pytest

from buildfarm.errors import BuildfarmError
from tests.hostile import (
    api_attacks,  # noqa: F401
    cache_attacks,  # noqa: F401
    canary,  # noqa: F401
    code_attacks,  # noqa: F401
    link_attacks,
    others,  # noqa: F401
    sources,  # noqa: F401
    storage_attacks,  # noqa: F401
)
from tests.hostile.arena import open_arena
from tests.hostile.attack import ATTACKS

ALSO = set(filter(None, os.environ.get("HOSTILE_ALSO", "").split(",")))
CHOSEN = [attack for attack in ATTACKS if attack.quick or attack.name in ALSO]
assert not ALSO - {attack.name for attack in CHOSEN}, f"HOSTILE_ALSO names an attack that is not there: {ALSO}"


@pytest.fixture(scope="module")
def arena():
    try:
        with open_arena(BUILDFARM_BUILD_SECONDS="30") as arena:
            yield arena
    except BuildfarmError as error:
        if os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"):
            raise
        pytest.skip(f"{error.message} Start them: buildfarm up --no-worker")


@pytest.mark.parametrize("attack", CHOSEN, ids=lambda attack: attack.name)
def test_it_does_not_get_through(arena, attack):
    outcome, holds = attack.run(arena)
    assert holds, f"{attack.name} ({attack.promise}): {outcome}"
    assert not arena.left_behind() or not arena.is_as_before()


def test_the_canaries_are_in_no_blob_of_the_registry(arena):
    told, holds = link_attacks.searched(arena)
    assert holds, told


def test_the_node_reached_the_files_of_builds_by_its_one_door_alone(arena):
    told, holds = link_attacks.watched(arena)
    assert holds, told
