"""Images that the steps of a Dockerfile leave on the engine: noted in a file, so that they go after a crash too.

They have neither a tag nor a label, and on a shared engine nothing else says whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from buildfarm.telemetry import Logger
from workers.engine import engine_failures


@dataclass(frozen=True)
class StepImages:
    """The notes of one node, a file for each attempt that builds a Dockerfile."""

    client: docker.DockerClient
    directory: Path

    @contextmanager
    def of(self, attempt: str) -> Iterator[Callable[[str], None]]:
        """For the length of the block, in which the images are removed: a function that notes a step's image."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / attempt
        with path.open("a", encoding="ascii") as file:

            def note(step: str) -> None:
                file.write(f"{step}\n")
                file.flush()

            yield note
        path.unlink()

    def remove_left_behind(self, running: Set[str], logger: Logger) -> None:
        """Removes what attempts noted that no longer run. Raises NodeError."""
        for path in sorted(self.directory.glob("*")):
            if path.name in running:
                continue
            steps = path.read_text().split()
            logger.warning("step_images_left_behind", attempt=path.name, images=len(steps))
            with engine_failures("remove the images of a build's steps"):
                # A step's image cannot go before those of the steps that follow it.
                if all(remove_step(self.client, step) for step in reversed(steps)):
                    path.unlink()


def remove_step(client: docker.DockerClient, step: str) -> bool:
    """Remove the image of a step; false while a container of the build still has it. What others use stays."""
    try:
        found = client.images.get(step).attrs
        if found["RepoTags"] or found["RepoDigests"]:
            return True
        client.api.remove_image(step)
    except ImageNotFound:
        return True
    except APIError as error:
        if error.status_code != 409:
            raise
        # The container of a step that was cancelled ends within moments.
        return "container" not in str(error.explanation)
    return True
