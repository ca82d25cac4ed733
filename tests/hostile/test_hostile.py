"""The quick half of the attacks, each in a real build; `make hostile` runs them all and measures neighbours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import api_attacks  # noqa: F401
import canary  # noqa: F401
import code_attacks  # noqa: F401
import link_attacks
import others  # noqa: F401
import sources  # noqa: F401
from arena import open_arena
from attack import ATTACKS

from buildfarm.errors import BuildfarmError


@pytest.fixture(scope="module")
def arena():
    try:
        with open_arena(BUILDFARM_BUILD_SECONDS="30") as arena:
            yield arena
    except BuildfarmError as error:
        if os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"):
            raise
        pytest.skip(f"{error.message} Start them: buildfarm up --no-worker")


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.quick], ids=lambda attack: attack.name)
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
