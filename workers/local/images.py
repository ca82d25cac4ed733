"""The images the local farm is made of: built from the recipes in ``images/``, and again when a recipe changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from buildfarm.errors import SetupError
from workers.local.network import SERVICES
from workers.local.packages import ensure_packages, find_program, run_command
from workers.local.slim import Maker

RECIPES = Path(__file__).parents[2] / "images"
SUITE = "trixie"
PULLED_BASE = f"debian:{SUITE}-slim"

PULL_SECONDS = 60
BUILD_SECONDS = 1200
NAME = "buildfarm"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """An image: what it is made of decides its tag, so that an unchanged recipe is never built again."""

    name: str
    parts: tuple[str, ...]  # all that the image is made of: folders and files, relative to images/

    @property
    def dockerfile(self) -> Path:
        return RECIPES / self.name / "Dockerfile"


@dataclass(frozen=True)
class SlimRecipe:
    """An image that the imager makes from a ``recipe.toml``."""

    folder: str  # relative to images/
    version: str

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]


BUILDER = Recipe("builder", ("builder", "buildpacks"))
IMAGER = Recipe("imager", ("imager", "builder/root/usr/lib/buildfarm/unpack"))
REDIS = SlimRecipe("databases/redis", "8.0")
REGISTRY = SlimRecipe("registry", "trixie")


def ensure_base(client: docker.DockerClient, docker_url: str, say: Say) -> str:
    """The base image's name: the distribution's own where a registry is reached, else bootstrapped from packages."""
    for name in (PULLED_BASE, _bootstrapped()):
        if _has(client, name):
            return name
    say(f"base: pulling {PULLED_BASE}")
    if _pull(docker_url):
        return PULLED_BASE
    say("base: no registry is reached; bootstrapping it from packages")
    ensure_packages({"mmdebstrap": "mmdebstrap"}, say)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run_command([str(RECIPES / "base" / "bootstrap.sh"), str(archive)], BUILD_SECONDS)
        repository, _, tag = _bootstrapped().partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return _bootstrapped()


def ensure_image(client: docker.DockerClient, docker_url: str, recipe: Recipe, base: str, say: Say) -> str:
    """The name of the image of this recipe on this base, built where it is not there yet."""
    if not RECIPES.is_dir():
        raise SetupError("The recipes of the farm's images are not here.", advice="Run it from a checkout.")
    base_id = str(client.images.get(base).id)
    name = f"{NAME}/{recipe.name}:{_fingerprint([base_id], recipe.parts)}"
    if _has(client, name):
        return name
    say(f"{recipe.name}: building the image")
    command = [
        find_program("docker") or "docker",
        "--host",
        docker_url,
        "build",
        "--quiet",
        # Containers of a build need a way out that does not depend on the engine's default bridge.
        f"--network={SERVICES}",
        f"--build-arg=BASE={base}",
        f"--file={recipe.dockerfile}",
        f"--tag={name}",
        str(RECIPES),
    ]
    run_command(["env", "DOCKER_BUILDKIT=0", *command], BUILD_SECONDS)
    return name


def ensure_slim(maker: Maker, recipe: SlimRecipe, say: Say) -> str:
    """The name of the image of this recipe, made where it is not there yet."""
    made_of = _fingerprint([maker.imager, recipe.version], [recipe.folder])
    name = f"{NAME}/{recipe.name}:{made_of}"
    if not _has(maker.client, name):
        say(f"{recipe.name}: making the image")
        maker.make(RECIPES / recipe.folder, recipe.version, name)
    return name


def remove_images(client: docker.DockerClient) -> list[str]:
    """Removes every image this module made; returns the names of those that are gone."""
    removed = []
    for image in client.images.list(filters={"reference": f"{NAME}/*"}):
        for tag in image.tags:
            with suppress(DockerException):
                client.images.remove(tag)
                removed.append(tag)
    return removed


def _bootstrapped() -> str:
    return f"{NAME}/base:{_fingerprint([SUITE], ['base'])}"


def _has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(docker_url: str) -> bool:
    command = [find_program("docker") or "docker", "--host", docker_url, "pull", "--quiet", PULLED_BASE]
    try:
        return subprocess.run(command, capture_output=True, timeout=PULL_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _fingerprint(first: Iterable[str], parts: Iterable[str]) -> str:
    """Of names, contents and the right to execute; times and owners do not change an image."""
    total = hashlib.sha256("\0".join(first).encode())
    for part in parts:
        for path in sorted([RECIPES / part, *(RECIPES / part).rglob("*")]):
            if path.is_file():
                total.update(f"{path.relative_to(RECIPES)}\0{os.access(path, os.X_OK)}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]
