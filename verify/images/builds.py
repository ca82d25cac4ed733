"""Image builds on the running farm, and what they are compared with: the usual way to install the same database."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import docker

from buildfarm.cli.images import submit
from buildfarm.farm import Farm
from buildfarm.model import Build, BuildResult
from buildfarm.recipes.folder import CHECKOUT_RECIPES as RECIPES
from buildfarm.recipes.folder import find_recipes, slim_plan
from buildfarm.recipes.plan import SlimPlan

SUITE = "bookworm"
PROGRAMS = {"mmdebstrap": "mmdebstrap"}
NETWORK = "buildfarm"


@dataclass(frozen=True)
class Built:
    """An image build that has ended, and its log."""

    build: Build
    log: tuple[str, ...]

    @property
    def result(self) -> BuildResult | None:
        return self.build.result

    @property
    def packages(self) -> tuple[str, ...]:
        """What is in it, as name=version."""
        return self.result.packages if self.result else ()

    @property
    def sizes(self) -> tuple[float, float]:
        """Uncompressed and compressed, in MB of 1,000,000 bytes."""
        layers = self.result.layers if self.result else ()
        return sum(layer.uncompressed_bytes or 0 for layer in layers) / 1e6, sum(
            layer.size_bytes for layer in layers
        ) / 1e6

    @property
    def told(self) -> str:
        """Why there is no image; empty if there is one."""
        return self.build.failure.message if self.build.failure else ""


def plan(name: str, version: str) -> SlimPlan:
    return slim_plan(find_recipes(RECIPES)[name], version)


def build_images(farm: Farm, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Built]:
    """One build of each image and version, as many at once as the farm's nodes take, to their ends."""
    folders = find_recipes(RECIPES)
    submitted = {(name, version): submit(farm, folders[name], name, version).id for name, version in wanted}
    return {key: ended(farm, build_id) for key, build_id in submitted.items()}


def build_image(farm: Farm, name: str, version: str, *, folder: Path | None = None) -> Built:
    """One build of one version, to its end."""
    return ended(farm, submit(farm, folder or find_recipes(RECIPES)[name], name, version).id)


def ended(farm: Farm, build_id: str) -> Built:
    """The build when it has ended, and its log."""
    items = list(farm.follow(build_id))
    ended = [item for item in items if isinstance(item, Build)][-1]
    return Built(ended, tuple(item.text for item in items if not isinstance(item, Build)))


def usual_install(client: docker.DockerClient, package: str) -> str:
    """An image made as most are: the same base, `apt-get install`, lists and caches removed. Its name on the engine."""
    base = _base(client)
    name = f"buildfarm/usual:{package}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {base}\nRUN printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d"
            f" && chmod +x /usr/sbin/policy-rc.d"
            f" && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y {package}"
            " && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/log/*\n"
        )
        command = ["docker", "build", "--quiet", f"--network={NETWORK}", f"--tag={name}", folder]
        subprocess.run(["env", "DOCKER_BUILDKIT=0", *command], check=True, capture_output=True)
    return name


def size_mb(client: docker.DockerClient, name: str) -> float:
    """What the engine says of an image's files."""
    return int(client.images.get(name).attrs["Size"]) / 1e6


def _base(client: docker.DockerClient) -> str:
    """The farm's base, of the suite that is compared."""
    name = f"buildfarm/usual-base:{SUITE}"
    if not client.images.list(name=name):
        with tempfile.TemporaryDirectory() as folder:
            archive = f"{folder}/base.tar"
            options = f"--dpkgopt={RECIPES / 'base/slim'}"
            clean = 'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin'
            subprocess.run(
                ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", options,
                 f"--customize-hook={clean}", SUITE, archive],
                check=True, capture_output=True,
            )  # fmt: skip
            repository, _, tag = name.partition(":")
            client.api.import_image_from_file(archive, repository=repository, tag=tag)
    return name
