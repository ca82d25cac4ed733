"""A node that keeps started sandboxes ready: builds come out as without, and nothing is left when it ends."""

from __future__ import annotations

import uuid
from contextlib import ExitStack

from buildfarm.farm import open_farm
from buildfarm.model import State
from testkit.builds import Builds, build_node, empty_namespace, wait_for, write_files


def test_builds_in_ready_sandboxes(services, tmp_path):
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    write_files(tmp_path, {"index.html": "hello"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        with build_node(farm, BUILDFARM_WARM_SANDBOXES="1") as node:
            for number in range(2):
                wait_for(lambda: any("-ready-" in name for name in node.left_behind()), 20, node.left_behind)
                build = Builds(farm, node)(tmp_path, f"ready-{number}")
                assert build.state is State.SUCCEEDED, build.failure
                # The record comes first; clearing away never delays it.
                wait_for(lambda ended=build: not any(ended.id in name for name in node.left_behind()), 20)
        assert node.left_behind() == []
