"""The images the local farm is made of: built from the recipes in ``images/``, and again when a recipe changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.recipes.folder import read_recipe, recipes_folder
from buildfarm.recipes.parts import Dockerfile
from buildfarm.recipes.recipe import RECIPE_FILE, DockerfileRecipe
from localfarm.network import SERVICES
from localfarm.packages import ensure_packages, find_program, run_command
from localfarm.slim import Maker
from workers.build_folder import BuildFolder
from workers.image_builds.dockerfile import DockerfileBuild, EngineLimits

SUITE = "trixie"
PULLED_BASE = f"debian:{SUITE}-slim"

PULL_SECONDS = 60
BUILD_SECONDS = 1200
SILENCE_SECONDS = 600
NAME = "buildfarm"

_TAIL_BYTES = 1500

Say = Callable[[str], None]


@dataclass(frozen=True)
class LocalSlimImage:
    """An image that the imager makes, of one version of a ``recipe.toml``."""

    folder: str  # relative to images/
    version: str

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]


@dataclass(frozen=True)
class Distribution:
    """What a base image is of (os-release(5): ``VERSION_CODENAME``, ``ID``, ``VERSION_ID``)."""

    stack: str  # its code name, as buildpacks call it
    name: str
    version: str

    def fill(self, dockerfile: Dockerfile) -> Dockerfile:
        """For this base: its version, and what it takes of the rest."""
        filled = dockerfile.filled(self.stack)
        rest = {"DISTRO_NAME": self.name, "DISTRO_VERSION": self.version}
        taken = {name: text for name, text in rest.items() if name in filled.arguments}
        return filled.model_copy(update={"arguments": {**filled.arguments, **taken}})


DEBIAN = Distribution(SUITE, "debian", "13")

# Folders of recipes with a Dockerfile; what such an image is made of decides its tag, so that an unchanged one is never
# built again.
BUILDER = "builder"
IMAGER = "imager"
REDIS = LocalSlimImage("databases/redis", "8.0")
REGISTRY = LocalSlimImage("registry", "trixie")
DOWNLOADS = LocalSlimImage("downloads", "trixie")


def ensure_base(client: docker.DockerClient, docker_url: str, wanted: str, say: Say) -> str:
    """The base image's name: the one that is wanted; else Debian's, bootstrapped if no registry is reached."""
    if wanted:
        if not _has(client, wanted):
            say(f"base: pulling {wanted}")
            if not _pull(docker_url, wanted):
                raise SetupError(
                    f"The base {wanted} cannot be pulled.", advice="Unset BUILDFARM_BASE to build on Debian."
                )
        return wanted
    for name in (PULLED_BASE, _bootstrapped()):
        if _has(client, name):
            return name
    say(f"base: pulling {PULLED_BASE}")
    if _pull(docker_url, PULLED_BASE):
        return PULLED_BASE
    say("base: no registry can be reached; bootstrapping it from packages")
    ensure_packages({"mmdebstrap": "mmdebstrap"}, say)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run_command([str(recipes_folder() / "base" / "bootstrap.sh"), str(archive)], BUILD_SECONDS)
        repository, _, tag = _bootstrapped().partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return _bootstrapped()


def ensure_image(
    client: docker.DockerClient, folder: str, base: str, *, say: Say, ca_bundle: Path | None = None
) -> str:
    """The name of the image of the recipe in this folder on this base, built if it is not there yet. SetupError.

    ``ca_bundle`` is trusted where the recipe fetches; it does not become part of the image.
    """
    recipe = _dockerfile_recipe(folder)
    base_id = str(client.images.get(base).id)
    root = (recipes_folder() / folder / recipe.dockerfile.context).resolve()
    name = f"{NAME}/{recipe.name}:{_fingerprint([base_id], recipe.dockerfile.takes, root=root, left_out=RECIPE_FILE)}"
    if _has(client, name):
        return name
    say(f"{recipe.name}: building the image")
    build_image(client, folder, base, name, ca_bundle=ca_bundle)
    return name


def build_image(
    client: docker.DockerClient,
    folder: str,
    base: str,
    name: str,
    *,
    ca_bundle: Path | None = None,
    cache: bool = True,
) -> None:
    """Builds the recipe's image under this name; without ``cache`` nothing of an earlier build is used. SetupError."""
    wanted = _dockerfile_recipe(folder).dockerfile
    filled = distribution_of(client, base).fill(wanted)
    # Containers of a build need a way out that does not depend on the engine's default bridge.
    limits = EngineLimits(SERVICES, SILENCE_SECONDS, ca_bundle=ca_bundle)
    written: list[bytes] = []
    with tempfile.TemporaryDirectory() as parent:
        context = Path(parent) / "context"
        try:
            wanted.take_along(recipes_folder() / folder, context)
            check = _deadline(BUILD_SECONDS)
            making = DockerfileBuild(
                client, BuildFolder(context), filled, base, name, limits, log=written.append, check=check
            )
            making.run(cache=cache)
        except BuildfarmError as error:
            tail = b"".join(written)[-_TAIL_BYTES:].decode(errors="replace")
            raise SetupError(
                f"The image {name} cannot be built: {error.message}\n{tail}", advice=error.advice
            ) from error


def _dockerfile_recipe(folder: str) -> DockerfileRecipe:
    recipe = read_recipe(recipes_folder() / folder)
    if isinstance(recipe, DockerfileRecipe):
        return recipe
    raise AssertionError(f"{folder} has a Dockerfile")


def distribution_of(client: docker.DockerClient, base: str) -> Distribution:
    """What a base is of, as its os-release says. Raises SetupError if it does not say it."""
    if base in (PULLED_BASE, _bootstrapped()):
        return DEBIAN
    asked = '. /etc/os-release && echo "$VERSION_CODENAME,$ID,$VERSION_ID"'
    try:
        told = client.containers.run(base, entrypoint=["sh", "-c", asked], remove=True, network_disabled=True)
    except DockerException as error:
        raise SetupError(
            f"The base {base} cannot be inspected for its distribution: {error}",
            advice="Unset BUILDFARM_BASE to build on Debian.",
        ) from error
    stack, name, version = told.decode().strip().split(",")
    if not stack or not name:
        raise SetupError(f"The base {base} names no release in /etc/os-release.", advice="Take a Debian or an Ubuntu.")
    return Distribution(stack, name, version)


def ensure_slim(maker: Maker, recipe: LocalSlimImage, say: Say) -> str:
    """The name of the image of this recipe, made if it is not there yet."""
    made_of = _fingerprint([maker.imager, recipe.version], [recipe.folder])
    name = f"{NAME}/{recipe.name}:{made_of}"
    if not _has(maker.client, name):
        say(f"{recipe.name}: making the image")
        maker.make(recipes_folder() / recipe.folder, recipe.version, name)
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


def _pull(docker_url: str, image: str) -> bool:
    command = [find_program("docker") or "docker", "--host", docker_url, "pull", "--quiet", image]
    try:
        return subprocess.run(command, capture_output=True, timeout=PULL_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _fingerprint(first: Iterable[str], parts: Iterable[str], *, root: Path | None = None, left_out: str = "") -> str:
    """Of names, contents and the right to execute; times and owners do not change an image."""
    root = root or recipes_folder()
    total = hashlib.sha256("\0".join(first).encode())
    for part in parts:
        for path in sorted([root / part, *(root / part).rglob("*")]):
            name = path.relative_to(root)
            if path.is_file() and path.name != left_out and "__pycache__" not in name.parts:
                total.update(f"{name}\0{os.access(path, os.X_OK)}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def _deadline(seconds: float) -> Callable[[], None]:
    """A check that fails from then on."""
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise SetupError(f"It took longer than {seconds:.0f} s.")

    return check
