"""A worker on a second engine, with a data root and network of its own, builds from the same queue."""

from __future__ import annotations

import os

import pytest
from conftest import EXAMPLES, Builds

from buildfarm.model import State
from verify.second_engine import PROGRAMS, second_engine
from workers.local.packages import ensure_packages


@pytest.mark.timeout(400)
def test_the_only_node_is_on_another_engine(farm):
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    ensure_packages(PROGRAMS, print)
    with second_engine(farm) as second:
        build = Builds(farm, None)(EXAMPLES / "static", "two")
    assert build.state is State.SUCCEEDED
    assert build.node == second.id
    assert build.result.uploaded_bytes < 10_000
