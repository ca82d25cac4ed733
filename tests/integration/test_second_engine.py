"""A worker on a second engine, with a data root and network of its own, builds from the same queue."""

from __future__ import annotations

import os

import pytest

from buildfarm.model import State
from localfarm.packages import ensure_packages
from testkit.builds import EXAMPLES, Builds
from testkit.second_engine import PROGRAMS, second_engine


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
