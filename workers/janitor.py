"""The janitor: removes sandboxes and workspaces of this node that no running attempt owns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Set
from dataclasses import dataclass

import docker

from buildfarm.telemetry import Logger
from workers.sandbox import containers_of, remove_container
from workers.workspace import Workspaces, remove


@dataclass(frozen=True)
class Janitor:
    """Cleans up behind attempts that could not do it themselves, because their worker or engine died."""

    client: docker.DockerClient
    node_id: str
    workspaces: Workspaces
    running: Callable[[], Set[str]]
    logger: Logger

    def clean(self) -> None:
        """Raises NodeError."""
        # What there is comes before who owns it: a build that starts in between is in the second list only.
        containers = containers_of(self.client, self.node_id)
        workspaces = self.workspaces.left_behind()
        running = self.running()
        for container_id, attempt in containers.items():
            if attempt not in running:
                self.logger.warning("sandbox_left_behind", attempt=attempt)
                remove_container(self.client, container_id)
        for workspace in workspaces:
            if workspace.name not in running:
                self.logger.warning("workspace_left_behind", workspace=workspace.name)
                remove(workspace)

    def free_bytes(self) -> int:
        """Free disk where workspaces are."""
        self.workspaces.directory.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.workspaces.directory).free
