"""The janitor on a real engine: what a dead attempt left goes, what a living one owns stays."""

from __future__ import annotations

import subprocess
import uuid
from contextlib import ExitStack

import pytest

from buildfarm.telemetry import logger
from workers.engine import open_engine
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE, attempt_name, smoke_image
from workers.sandbox.container import containers_of
from workers.sandbox.workspace import Workspaces
from workers.upkeep.janitor import Janitor


@pytest.fixture
def client(services):
    client = open_engine(services.docker_url)
    yield client
    client.close()


def test_an_earlier_attempt_is_cleared_away_while_a_later_one_runs_on_the_same_node(services, client, tmp_path):
    node, build = f"test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:16]
    dead, living = attempt_name(build, 1), attempt_name(build, 2)
    image = subprocess.run(
        ["docker", "inspect", "--format", "{{.Image}}", "buildfarm-redis"], check=True, capture_output=True, text=True
    ).stdout.strip()
    workspaces = Workspaces(tmp_path / "workspaces", 50_000_000, 1000)
    janitor = Janitor(client, node, workspaces, lambda: {living}, logger())
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
        assert list(containers_of(client, node).values()) == [living]
        assert [path.name for path in workspaces.left_behind()] == [living]
        assert [tag for each in client.api.images("buildfarm/smoke") for tag in each["RepoTags"] if node in tag] == [
            smoke_image(node, living)
        ]
        janitor.clean()
        assert list(containers_of(client, node).values()) == [living]
    assert workspaces.left_behind() == []
