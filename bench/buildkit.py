"""What a user of the engine would do instead: a Dockerfile, built by its BuildKit, and pushed."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from bench.ways import remove_images, run
from buildfarm.oci.registry import Registry

DOCKERFILES = Path(__file__).parent / "dockerfiles"


@dataclass(frozen=True)
class BuildKit:
    """``docker build`` with BuildKit on the farm's own builder, and ``docker push``."""

    registry: Registry
    base: str
    dockerfile: str  # a file of `DOCKERFILES`
    certificates: Path
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:12]}")

    @property
    def repository(self) -> str:
        return f"bench/{self.name}"

    def build(self, app: Path) -> None:
        """From the folder to the image in the registry. Raises RuntimeError with the engine's words."""
        target = f"{self.registry.host}/{self.repository}:latest"
        run(
            "env",
            "DOCKER_BUILDKIT=1",
            _client(),
            "build",
            "--quiet",
            "--network=host",
            f"--build-arg=BASE={self.base}",
            f"--secret=id=certificates,src={self.certificates}",
            f"--file={DOCKERFILES / self.dockerfile}",
            f"--tag={target}",
            str(app),
        )
        run("docker", "push", "--quiet", target)

    def clean(self) -> None:
        remove_images(self.registry, self.repository)


def _client() -> str:
    """The distribution's client speaks to BuildKit itself; newer ones need a plugin for it."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def certificates() -> Path:
    """The bundle that package managers of this machine trust."""
    return Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
