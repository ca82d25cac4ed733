"""Nodes with small limits: each limit ends a build with its own code, and the farm goes on."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, contextmanager

import pytest

from buildfarm.farm import open_farm
from buildfarm.model import State
from testkit.builds import Builds, build_node, empty_namespace, wait_for, write_files

MIB = 1024 * 1024


SIZES = {
    "BUILDFARM_MEMORY_BYTES": str(200 * MIB),
    "BUILDFARM_WORKSPACE_BYTES": str(100 * MIB),
    "BUILDFARM_WORKSPACE_INODES": "20000",
    "BUILDFARM_IMAGE_BYTES": str(20 * MIB),
}
SILENT = {"BUILDFARM_BUILD_SECONDS": "120", "BUILDFARM_SILENCE_SECONDS": "4"}
ENDLESS = {"BUILDFARM_BUILD_SECONDS": "8", "BUILDFARM_SILENCE_SECONDS": "60"}


@contextmanager
def node_with(services, limits):
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        yield Builds(farm, stack.enter_context(build_node(farm, **limits)))


@pytest.fixture(scope="module")
def built(services):
    """A node that gives builds little room, and time enough on a busy machine."""
    with node_with(services, SIZES) as built:
        yield built


def fails_as(built, directory, script, code, told):
    """A build of an app whose own buildpack does this; it leaves nothing behind."""
    words = {"detect": "echo own", "compile": f'cd "$1"\n{script}'}
    files = {f"bin/{name}": f"#!/bin/bash\n{text}\n" for name, text in words.items()}
    write_files(directory, {**files, "Procfile": "web: true\n"})
    for name in files:
        (directory / name).chmod(0o755)
    build = built(directory, "limits")
    assert build.state is State.FAILED
    assert build.failure.code == code, built.log(build)
    assert told in build.failure.message
    assert build.attempt == 1
    wait_for(lambda: not built.node.left_behind(), 60, built.node.left_behind)


@pytest.mark.parametrize(
    ("times", "script", "told"),
    [
        (SILENT, "sleep 300", "wrote nothing for 4 s"),
        (ENDLESS, "while true; do echo x; sleep 0.5; done", "took longer than 8 s"),
    ],
    ids=["silent", "endless"],
)
def test_a_limit_of_time_ends_the_build_with_its_own_code(services, tmp_path, times, script, told):
    """Each on a node where a busy machine does not come to the other limit first."""
    with node_with(services, times) as hurried:
        fails_as(hurried, tmp_path, script, "app.timeout", told)


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("python3 -c 'x = bytearray(10 ** 9)'", "app.out_of_memory", "more memory"),
        ("head -c 30000000 /dev/urandom > big", "app.too_large", "larger than"),
        ("head -c 300000000 /dev/zero > big", "app.too_large", "filled its workspace"),
        ("mkdir d; for i in $(seq 30000); do : >d/$i; done", "app.too_large", "filled its workspace"),
    ],
    ids=["memory", "image", "disk", "inodes"],
)
def test_a_limit_ends_the_build_with_its_own_code(built, tmp_path, script, code, told):
    fails_as(built, tmp_path, script, code, told)


def test_the_node_builds_on_after_all_that(built, tmp_path):
    write_files(tmp_path, {"index.html": ""})
    assert built(tmp_path, "after").state is State.SUCCEEDED
