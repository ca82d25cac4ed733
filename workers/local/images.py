"""The images the local farm is made of: built from the recipes in ``images/``, and again when a recipe changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
    takes_stack: bool = False  # whether it has a build argument STACK
    trusts: str | None = None  # where it looks for certificates to trust while it fetches, relative to images/

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


BUILDER = Recipe("builder", ("builder", "buildpacks"), takes_stack=True, trusts="builder/tools/ca-bundle.crt")
IMAGER = Recipe("imager", ("imager", "builder/root/usr/lib/buildfarm/unpack"))
REDIS = SlimRecipe("databases/redis", "8.0")
REGISTRY = SlimRecipe("registry", "trixie")


def ensure_base(client: docker.DockerClient, docker_url: str, wanted: str, say: Say) -> str:
    """The base image's name: the one that is wanted; else Debian's, bootstrapped where no registry is reached."""
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
    say("base: no registry is reached; bootstrapping it from packages")
    ensure_packages({"mmdebstrap": "mmdebstrap"}, say)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run_command([str(RECIPES / "base" / "bootstrap.sh"), str(archive)], BUILD_SECONDS)
        repository, _, tag = _bootstrapped().partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return _bootstrapped()


def ensure_image(
    client: docker.DockerClient, docker_url: str, recipe: Recipe, base: str, *, say: Say, ca_bundle: Path | None = None
) -> str:
    """The name of the image of this recipe on this base, built where it is not there yet.

    ``ca_bundle`` is trusted where the recipe fetches; it does not become part of the image.
    """
    if not RECIPES.is_dir():
        raise SetupError("The recipes of the farm's images are not here.", advice="Run it from a checkout.")
    base_id = str(client.images.get(base).id)
    name = f"{NAME}/{recipe.name}:{_fingerprint([base_id], recipe.parts)}"
    if _has(client, name):
        return name
    say(f"{recipe.name}: building the image")
    build_image(client, docker_url, recipe, base, name, ca_bundle=ca_bundle)
    return name


def build_image(
    client: docker.DockerClient,
    docker_url: str,
    recipe: Recipe,
    base: str,
    name: str,
    *,
    ca_bundle: Path | None = None,
    cache: bool = True,
) -> None:
    """Builds the recipe's image under this name; without ``cache`` nothing of an earlier build is used. SetupError."""
    with _context(recipe, ca_bundle) as context:
        command = [
            find_program("docker") or "docker",
            "--host",
            docker_url,
            "build",
            "--quiet",
            # Containers of a build need a way out that does not depend on the engine's default bridge.
            f"--network={SERVICES}",
            f"--build-arg=BASE={base}",
            *([] if cache else ["--no-cache"]),
            *([f"--build-arg=STACK={_stack(client, base)}"] if recipe.takes_stack else []),
            f"--file={context / recipe.dockerfile.relative_to(RECIPES)}",
            f"--tag={name}",
            str(context),
        ]
        run_command(["env", "DOCKER_BUILDKIT=0", *command], BUILD_SECONDS)


@contextmanager
def _context(recipe: Recipe, ca_bundle: Path | None) -> Iterator[Path]:
    """The build context with fixed times and permissions: copied files look the same from every checkout."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        for name in recipe.parts:
            if (RECIPES / name).is_dir():
                shutil.copytree(RECIPES / name, context / name)
            else:
                (context / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(RECIPES / name, context / name)
        if recipe.trusts is not None:
            (context / recipe.trusts).write_bytes(ca_bundle.read_bytes() if ca_bundle else b"")
        for path in [*context.rglob("*"), context]:
            path.chmod(0o755 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o100) else 0o644)
            os.utime(path, (1, 1))
        yield context


def _stack(client: docker.DockerClient, base: str) -> str:
    """The base distribution's code name, which is what buildpacks call a stack."""
    with suppress(DockerException):
        told = client.containers.run(
            base, ["sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"'], remove=True, network_disabled=True
        )
        if name := told.decode().strip():
            return name
    return SUITE


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


def _pull(docker_url: str, image: str) -> bool:
    command = [find_program("docker") or "docker", "--host", docker_url, "pull", "--quiet", image]
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
