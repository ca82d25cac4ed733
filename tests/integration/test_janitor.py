"""The janitor on a real engine: what a dead attempt left goes, what a living one owns stays."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import uuid
from contextlib import ExitStack

import docker
import pytest

from buildfarm.telemetry import logger
from testkit.builds import build_node, wait_for
from workers.attempt.memory import SandboxMemory
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE, attempt_name, smoke_image
from workers.sandbox.container import containers_of
from workers.sandbox.workspace import Workspaces
from workers.upkeep.janitor import Janitor
from workers.upkeep.step_images import StepImages


def test_an_earlier_attempt_is_cleared_away_while_a_later_one_runs_on_the_same_node(services, client, tmp_path):
    node, build = f"test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:16]
    dead, living = attempt_name(build, 1), attempt_name(build, 2)
    image = subprocess.run(
        ["docker", "inspect", "--format", "{{.Image}}", "buildfarm-redis"], check=True, capture_output=True, text=True
    ).stdout.strip()
    workspaces = Workspaces(tmp_path / "workspaces", 50_000_000, 1000)
    memory, steps = SandboxMemory(2), StepImages(client, tmp_path / "steps")
    for name in (dead, living):
        memory.enter(name, 1)
        memory.leave_behind(name)
    janitor = Janitor(client, node, workspaces, lambda: {living}, logger(), steps, memory)
    with ExitStack() as undo:
        for name in (dead, living):
            labels = [f"--label={LABEL_NODE}={node}", f"--label={LABEL_ATTEMPT}={name}"]
            subprocess.run(["docker", "create", "--name", name, *labels, image], check=True, capture_output=True)
            undo.callback(
                subprocess.run, ["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True
            )
            undo.enter_context(workspaces.make(name))
            subprocess.run(["docker", "tag", image, smoke_image(node, name)], check=True)
            undo.callback(subprocess.run, ["docker", "rmi", smoke_image(node, name)], check=False, capture_output=True)
        janitor.clean()
        assert (memory.left_behind(), memory.used_bytes) == ({living}, 1)
        assert list(containers_of(client, node).values()) == [living]
        assert [path.name for path in workspaces.left_behind()] == [living]
        assert [tag for each in client.api.images("buildfarm/smoke") for tag in each["RepoTags"] if node in tag] == [
            smoke_image(node, living)
        ]
        janitor.clean()
        assert list(containers_of(client, node).values()) == [living]
    assert workspaces.left_behind() == []


def test_images_of_the_steps_of_a_dead_attempt_go(services, client, tmp_path):
    """An image on another, as the steps of a Dockerfile are; one that has got a tag belongs to somebody."""
    dead, living = f"dead-{uuid.uuid4().hex[:8]}", f"living-{uuid.uuid4().hex[:8]}"
    steps = StepImages(client, tmp_path / "steps")
    made = {}
    for attempt in (dead, living):
        first = client.api.import_image_from_data(_tar(attempt), repository=None)
        made[attempt] = _id(first)
        with pytest.raises(KeyboardInterrupt), steps.of(attempt) as note:
            note(made[attempt].removeprefix("sha256:")[:12])
            raise KeyboardInterrupt
    try:
        Janitor(client, "n", Workspaces(tmp_path / "w", 1, 1), lambda: {living}, logger(), steps).clean()
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get(made[dead])
        client.images.get(made[living])
        assert [path.name for path in (tmp_path / "steps").iterdir()] == [living]
    finally:
        client.api.remove_image(made[living])


def _tar(text):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        item = tarfile.TarInfo("file")
        item.size = len(text)
        archive.addfile(item, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _id(answer):
    return json.loads(answer.splitlines()[-1])["status"]


def test_a_node_that_a_test_kills_leaves_nothing_on_this_machine(farm):
    with build_node(farm, BUILDFARM_WARM_SANDBOXES="1") as node:
        wait_for(lambda: len(node.pooled()) == 4, 60, node.pooled)  # two containers, a workspace, and its mount
        node.process.kill()
        node.process.wait()
        assert node.pooled()
    assert node.pooled() == node.left_behind() == []
    assert list(node.workspaces.glob(f"{node.id}*")) == []
