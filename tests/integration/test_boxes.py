"""A node that keeps started sandboxes ready: builds come out as without, and nothing is left when it ends."""

from __future__ import annotations

import subprocess

from buildfarm.model import State
from testkit.builds import Builds, build_node, wait_for, write_files
from workers.sandbox.pool import STEPS_AHEAD


def test_builds_in_ready_sandboxes(farm, tmp_path):
    write_files(tmp_path, {"index.html": "hello"})
    with build_node(farm, BUILDFARM_WARM_SANDBOXES="1") as node:
        for number in range(2):
            wait_for(lambda: len(ready_ones(node)) == 1, 60, node.pooled)
            [ready] = ready_ones(node)
            build = Builds(farm, node)(tmp_path, f"ready-{number}")
            assert build.state is State.SUCCEEDED, build.failure
            # The record comes first; clearing away never delays it. Another one takes the place of the used one.
            wait_for(lambda used=ready: not any(used in name for name in node.pooled()), 60, node.pooled)
    assert node.left_behind() + node.pooled() == []


def ready_ones(node):
    """Those in which all steps wait that are started ahead."""
    return [
        name
        for name in {name for name in node.pooled() if "/" not in name}
        if subprocess.run(["docker", "top", name], check=False, capture_output=True, text=True).stdout.count(
            "IFS= read"
        )
        >= STEPS_AHEAD
    ]


def test_by_default_as_many_sandboxes_wait_as_there_are_slots(farm):
    with build_node(farm, BUILDFARM_SLOTS="3") as node:
        wait_for(lambda: len(ready_ones(node)) == 3, 60, node.pooled)
