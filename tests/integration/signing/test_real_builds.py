"""A real node and a real signer, each its own process: builds wait for the signer, and their slots do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from buildfarm.farm import open_farm
from buildfarm.model import Phase, State
from testkit.builds import EXAMPLES, Builds, build_node, empty_namespace, wait_for
from testkit.queue.signing import make_key, signer_process
from workers.ownership import attempt_name

SIGNED_SECONDS = 60


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def built(services):
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:", "signing": "1"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        node = stack.enter_context(build_node(farm, BUILDFARM_SIGNING="1", BUILDFARM_SLOTS="1"))
        yield Builds(farm, node)


@pytest.fixture
def waiting(built, tmp_path):
    """Builds of two apps, handed over while no signer runs."""
    ids = []
    for app in ("one", "two"):
        folder = tmp_path / app
        shutil.copytree(EXAMPLES / "python", folder)
        (folder / "version.txt").write_text(app)
        source, _ = built.farm.pack(folder, built.tenant)
        ids.append(built.submit(source=source, app=app))
    published = lambda: all(built.farm.get(one).phase is Phase.PUBLISH for one in ids)  # noqa: E731
    wait_for(published, SIGNED_SECONDS, lambda: built.node.log.read_text()[-2000:])
    return ids


def test_builds_wait_for_a_signer_without_a_slot_or_a_workspace_and_then_continue(built, waiting, key):
    farm = built.farm
    names = [attempt_name(one, 1) for one in waiting]
    wait_for(lambda: not [name for name in built.node.left_behind() if any(one in name for one in names)], 30, str)
    assert [farm.get(one).state for one in waiting] == [State.RUNNING] * 2
    wait_for(lambda: all(node.busy == 0 for node in farm.nodes() if node.id == built.node.id), 30, str)
    repositories = [f"apps/{built.tenant}/{app}" for app in ("one", "two")]
    assert not any(farm.registry.has_manifest(name, "latest") for name in repositories)
    with signer_process(farm, [key]):
        ended = [built.ended(one) for one in waiting]
    assert [(build.state, build.attempt) for build in ended] == [(State.SUCCEEDED, 1)] * 2
    for build, name in zip(ended, repositories, strict=True):
        assert farm.registry.get_manifest(name, "latest")[2] == build.result.digest
        assert built.log(build).endswith("uploaded")

    image = farm.image(ended[0])
    environment = {**os.environ, "BUILDFARM_NAMESPACE": farm.settings.namespace}
    command = [sys.executable, "-m", "buildfarm", "verify", image, "--content", "--json"]
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert found["forms"] == ["tag", "bundle"]
    assert found["image"] == image
    assert found["content_bytes"] > 0


def test_a_node_announces_the_image_that_it_is_about_to_send(built, tmp_path):
    folder = Path(shutil.copytree(EXAMPLES / "python", tmp_path / "three"))
    source, _ = built.farm.pack(folder, built.tenant)
    built.submit(source=source, app="three")
    database, found = built.farm.database, []

    def announced():
        found.extend(database.client.blpop([database.key("signing:soon")], timeout=1) or ())
        return found

    wait_for(announced, SIGNED_SECONDS, lambda: built.node.log.read_text()[-2000:])
    assert found[1].split(" ")[1] == f"apps/{built.tenant}/three"


def test_neither_the_node_nor_its_builds_can_reach_the_key(built, key):
    environment = Path(f"/proc/{built.node.process.pid}/environ").read_bytes()
    assert key.name.encode() not in environment
    assert b"SIGNING_KEYS" not in environment
    assert key.stat().st_mode & 0o077 == 0
