"""A node with small limits: each limit ends a build with its own code, and the farm goes on."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack

import pytest

from buildfarm.farm import open_farm
from buildfarm.model import State
from testkit.builds import Builds, build_node, empty_namespace, wait_for, write_files

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def built(services):
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    limits = {
        "BUILDFARM_BUILD_SECONDS": "20",
        "BUILDFARM_SILENCE_SECONDS": "4",
        "BUILDFARM_MEMORY_BYTES": str(200 * MIB),
        "BUILDFARM_WORKSPACE_BYTES": str(100 * MIB),
        "BUILDFARM_WORKSPACE_INODES": "20000",
        "BUILDFARM_IMAGE_BYTES": str(20 * MIB),
    }
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        yield Builds(farm, stack.enter_context(build_node(farm, **limits)))


@pytest.fixture(autouse=True)
def nothing_left_behind(built):
    yield
    wait_for(lambda: not built.node.left_behind(), 10, built.node.left_behind)


def build_script(directory, script):
    return write_files(directory, {"package.json": json.dumps({"scripts": {"build": script}}), "Procfile": "web: true"})


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("sleep 60", "app.timeout", "wrote nothing for 4 s"),
        ("while true; do echo x; sleep 0.5; done", "app.timeout", "took longer than 20 s"),
        ("python3 -c 'x = bytearray(10 ** 9)'", "app.out_of_memory", "more memory"),
        ("head -c 30000000 /dev/urandom > big", "app.too_large", "larger than"),
        ("head -c 300000000 /dev/zero > big", "app.too_large", "filled its workspace"),
        ("mkdir d; for i in $(seq 30000); do : >d/$i; done", "app.too_large", "filled its workspace"),
    ],
    ids=["silent", "endless", "memory", "image", "disk", "inodes"],
)
def test_a_limit_ends_the_build_with_its_own_code(built, tmp_path, script, code, told):
    build = built(build_script(tmp_path, script), "limits")
    assert build.state is State.FAILED
    assert build.failure.code == code, built.log(build)
    assert told in build.failure.message
    assert build.attempt == 1


def test_the_node_builds_on_after_all_that(built, tmp_path):
    write_files(tmp_path, {"index.html": ""})
    assert built(tmp_path, "after").state is State.SUCCEEDED
