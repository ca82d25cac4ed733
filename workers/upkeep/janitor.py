"""The janitor: removes what no running attempt of this node owns, and keeps room on its disk."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

import docker

from buildfarm.telemetry import Logger
from workers.attempt.memory import SandboxMemory
from workers.engine import engine_failures
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE, SMOKE_IMAGES, smoke_image
from workers.sandbox.container import containers_of, remove_container
from workers.sandbox.workspace import Workspaces, remove
from workers.upkeep.step_images import StepImages


@dataclass(frozen=True)
class Janitor:
    """Cleans up behind attempts that could not do it themselves, because their worker or engine died."""

    client: docker.DockerClient
    node_id: str
    workspaces: Workspaces
    running: Callable[[], Set[str]]
    logger: Logger
    steps: StepImages
    memory: SandboxMemory = field(
        default_factory=SandboxMemory
    )  # of sandboxes that could not be removed, until they are

    def clean(self) -> None:
        """Raises NodeError."""
        left = self.memory.left_behind()
        # What there is comes before who owns it: a build that starts in between is in the second list only.
        containers = containers_of(self.client, self.node_id)
        networks = self._networks()
        images = self._smoke_images()
        workspaces = self.workspaces.left_behind()
        running = self.running()
        for container_id, attempt in containers.items():
            if attempt not in running:
                self.logger.warning("sandbox_left_behind", attempt=attempt)
                remove_container(self.client, container_id)
        for network_id, attempt in networks.items():
            if attempt not in running:
                self.logger.warning("network_left_behind", attempt=attempt)
                with engine_failures("remove a network"):
                    self.client.api.remove_network(network_id)
        for image, attempt in images.items():
            if attempt not in running:
                self.logger.warning("image_left_behind", attempt=attempt)
                with engine_failures("remove an image"):
                    self.client.api.remove_image(image, force=True)
        self.steps.remove_left_behind(running, self.logger)
        for workspace in workspaces:
            if workspace.name not in running:
                self.logger.warning("workspace_left_behind", workspace=workspace.name)
                remove(workspace)
        for name in left - running:
            self.memory.leave(name)

    def _networks(self) -> dict[str, str]:
        with engine_failures("list networks"):
            found = self.client.api.networks(filters={"label": f"{LABEL_NODE}={self.node_id}"})
        return {item["Id"]: (item["Labels"] or {}).get(LABEL_ATTEMPT, "") for item in found}

    def _smoke_images(self) -> dict[str, str]:
        with engine_failures("list images"):
            found = self.client.api.images(name=SMOKE_IMAGES)
        ours = smoke_image(self.node_id, "")
        tags = [tag for item in found for tag in item["RepoTags"] or ()]
        return {tag: tag.removeprefix(ours) for tag in tags if tag.startswith(ours)}
