"""The images on a host, by the command of its container engine: docker, or crictl for containerd and CRI-O."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator

from buildfarm.errors import NodeError, SetupError

PULL_SECONDS = 600.0
_CALL_SECONDS = 60.0


class ImageEngine(ABC):
    """Images are named host/repository@digest. Every method raises SetupError if the command is not installed."""

    @property
    @abstractmethod
    def tool(self) -> str:
        """The command."""

    @abstractmethod
    def has(self, image: str) -> bool:
        """Whether the image is here. Raises NodeError if the engine cannot be reached."""

    @abstractmethod
    def named(self, repository: str) -> set[str]:
        """The images of host/repository that are here. Raises NodeError."""

    @abstractmethod
    def remove(self, image: str) -> bool:
        """Removes an image; False if a container uses it."""

    def pull(self, image: str) -> None:
        """Raises NodeError."""
        self._output("pull", image, seconds=PULL_SECONDS)

    def _output(self, *arguments: str, seconds: float = _CALL_SECONDS) -> str:
        done = self._run(*arguments, seconds=seconds)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise NodeError(f"{self.tool} {arguments[0]} failed: {lines[-1][:500]}")
        return done.stdout

    def _run(self, *arguments: str, seconds: float = _CALL_SECONDS) -> subprocess.CompletedProcess[str]:
        command = [self.tool, *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except OSError as error:
            raise SetupError(
                f"The command {self.tool} cannot be run here: {error.strerror}.",
                advice="Install it, or choose another one with --engine.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"{self.tool} {arguments[0]} did not end within {seconds:.0f} s.") from error


class Docker(ImageEngine):
    """See docs.docker.com/reference/cli/docker/image."""

    tool = "docker"

    def has(self, image: str) -> bool:
        """Whether the image is here."""
        return image in self.named(image.partition("@")[0])

    def named(self, repository: str) -> set[str]:
        """The images of the repository that were pulled by their digest."""
        form = "{{.Repository}}@{{.Digest}}"
        return set(self._output("image", "ls", "--digests", "--no-trunc", "--format", form, repository).split())

    def remove(self, image: str) -> bool:
        """The engine refuses it if a container uses the image."""
        return self._run("image", "rm", image).returncode == 0


class Crictl(ImageEngine):
    """See kubernetes.io/docs/tasks/debug/debug-cluster/crictl."""

    tool = "crictl"

    def has(self, image: str) -> bool:
        """Whether the image is here."""
        return image in self._names()

    def named(self, repository: str) -> set[str]:
        """The images of the repository."""
        return {name for name in self._names() if name.startswith(f"{repository}@")}

    def remove(self, image: str) -> bool:
        """Containers that use the image keep their files."""
        return self._run("rmi", image).returncode == 0

    def _names(self) -> set[str]:
        text = self._output("images", "--output", "json")
        try:
            return set(_digests(text))
        except (ValueError, KeyError, TypeError) as error:
            raise NodeError("crictl images printed something else than its list as JSON.") from error


def _digests(text: str) -> Iterator[str]:
    for image in json.loads(text)["images"]:
        yield from image.get("repoDigests") or ()


ENGINES = {engine.tool: engine for engine in (Docker(), Crictl())}
