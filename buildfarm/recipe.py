"""Recipes: what the farm's own images are made of, one folder each with a ``recipe.toml``.

There are two kinds: files of packages (`SlimRecipe`), and a Dockerfile (`DockerfileRecipe`). A recipe has versions side
by side; its method ``plan`` gives what one of them is made of: the recipe's own lists, then the version's, with
``{version}`` filled in. docs/images.md explains every field to those who write recipes.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from buildfarm.errors import RecipeError
from buildfarm.model import Frozen, HttpUrl, ImageVersion, Name, Sha256

RECIPE_FILE = "recipe.toml"
CHECKOUT = "checkout"  # what a Dockerfile takes along travels in a folder of this name beside its recipe
BASE = "base"  # the image that has no recipe: what every Dockerfile stands on, one tag for each suite
IMAGER, IMAGER_VERSION = "imager", "trixie"  # the image that images of packages' files are made in

_V = TypeVar("_V", bound="Version")

RECIPE_BYTES_MAX = 64 * 1024
_MB = 1_000_000
_PLACE = "{version}"

Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]*$")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\s]*$")]
Suite = Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]
UpwardPath = Annotated[str, StringConstraints(pattern=r"^(\.|\.\.(/\.\.)*)$")]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Command = tuple[str, ...]


def _check_inside(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("expected a plain path below the context, without . and ..")
    return path


InsidePath = Annotated[str, AfterValidator(_check_inside)]


class Slim(Frozen):
    """Which files of which packages make the image; paths may be patterns of the shell's kind."""

    packages: tuple[str, ...] = ()  # of the distribution; they and what they depend on are unpacked
    programs: tuple[AbsolutePath, ...] = ()  # taken with every library they are linked to
    loaded: tuple[AbsolutePath, ...] = ()  # libraries that are loaded by name at run time; likewise
    files: tuple[AbsolutePath, ...] = ()  # data, folders as a whole
    drop: tuple[AbsolutePath, ...] = ()  # of the packages' files: as if they were not there
    links: dict[AbsolutePath, str] = Field(default_factory=dict)  # symbolic link to its target
    icu: tuple[str, ...] = ()  # of ICU's data, the items that stay, as coll/*; none named: all of it

    def with_more(self, other: Slim) -> Slim:
        """Both, this one's first."""
        return Slim(
            packages=self.packages + other.packages,
            programs=self.programs + other.programs,
            loaded=self.loaded + other.loaded,
            files=self.files + other.files,
            drop=self.drop + other.drop,
            links=self.links | other.links,
            icu=self.icu + other.icu,
        )

    def filled(self, version: str) -> Slim:
        """With ``{version}`` filled in everywhere."""

        return Slim(
            packages=_fill(self.packages, version),
            programs=_fill(self.programs, version),
            loaded=_fill(self.loaded, version),
            files=_fill(self.files, version),
            drop=_fill(self.drop, version),
            links={name.replace(_PLACE, version): target for name, target in self.links.items()},
            icu=self.icu,
        )


class Dockerfile(Frozen):
    """An image that a node's engine builds: for what install scripts must make, and for whole systems."""

    context: UpwardPath = "."  # the folder that the other paths are below, relative to the recipe's own
    takes: tuple[InsidePath, ...] = Field(min_length=1)  # files and folders that make the build context
    file: InsidePath
    target: str = ""  # the stage that is the image; none: the last
    arguments: dict[ArgumentName, str] = Field(default_factory=dict)  # beside BASE, which every build gets
    trusts: InsidePath | None = None  # where it looks for certificates while it fetches; no part of the image

    def filled(self, version: str) -> Dockerfile:
        """With ``{version}`` filled in where it may stand."""
        arguments = {name: text.replace(_PLACE, version) for name, text in self.arguments.items()}
        return self.model_copy(update={"arguments": arguments})

    def take_along(self, folder: Path, target: Path) -> None:
        """Copies the context of the recipe in ``folder`` to ``target``. Raises RecipeError where a part is missing."""
        root = folder / self.context
        for name in self.takes:
            there = root / name
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if there.is_dir():
                # Python leaves these wherever something was tried; two checkouts would not make one image.
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(there, target / name, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            elif there.is_file():
                shutil.copy(there, target / name)
            else:
                raise RecipeError(
                    f"The recipe takes {there} along, which is not there.", advice="Use a whole checkout."
                )


class Budget(Frozen):
    """How large the image may be; 1 MB is 1,000,000 bytes."""

    uncompressed_mb: float = Field(gt=0)
    compressed_mb: float = Field(gt=0)

    def overrun(self, uncompressed_bytes: int, compressed_bytes: int) -> str:
        """What is over the budget, as the rest of a sentence; empty where nothing is."""
        parts = [
            f"{size / _MB:.2f} MB {what} of {limit:g}"
            for what, size, limit in (
                ("uncompressed", uncompressed_bytes, self.uncompressed_mb),
                ("compressed", compressed_bytes, self.compressed_mb),
            )
            if size > limit * _MB
        ]
        return " and ".join(parts)


class Compiled(Frozen):
    """Programs compiled from the distribution's patched sources, which then need no library of the packages."""

    packages: tuple[Package, ...]  # source packages
    script: str  # a file of the recipe: called as SCRIPT SOURCES TREE
    budget: Budget  # of what comes of it; the recipe's own budget is that of the stock programs


class Archive(Frozen):
    """A vendor's archive, unpacked beside the packages; ``sha256`` is pinned, and a request may give another."""

    url: HttpUrl
    sha256: Sha256 | None = None
    into: AbsolutePath  # where its single top folder goes
    licence: str


class Runtime(Frozen):
    """How the image runs (image-spec config.md, field ``config``; Docker's own ``Healthcheck``)."""

    entrypoint: Command
    cmd: Command = ()
    user: int = Field(ge=1)
    volume: AbsolutePath
    port: int = Field(ge=1, le=65535)
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT"] = "SIGTERM"
    environment: dict[str, str] = Field(default_factory=dict)
    health: Command

    def filled(self, version: str) -> Runtime:
        """With ``{version}`` filled in where it may stand."""
        return self.model_copy(
            update={
                "health": _fill(self.health, version),
                "environment": {name: text.replace(_PLACE, version) for name, text in self.environment.items()},
            }
        )


class Step(Frozen):
    """A command in a container of the image, beside the server, and what it must print (a regular expression)."""

    name: str = ""
    run: Command
    prints: str
    code: int | None = 0  # how it must end; none: however


class Smoke(Frozen):
    """What an image must do before it is published."""

    features: tuple[Step, ...] = ()


class ServerSmoke(Smoke):
    """What a server must do. It is reached by the name ``database``."""

    password_file: str = ""  # the server's variable that names a file with the password; empty: it knows none
    client_password: str = ""  # the client's variable that holds the password
    ready_seconds: float = Field(60, gt=0)
    stop_seconds: float = Field(10, gt=0)
    stop_code: int = 0  # what it ends with when it is told to stop
    refused: Step | None = None  # runs with a wrong password
    write: Step
    read: Step  # what was written; runs again after a stop and after a kill


class ToolSmoke(Smoke):
    """What an image must do that is no server: it shows what it can, each in a container without a network."""

    features: tuple[Step, ...] = Field(min_length=1)


class Version(Frozen):
    """One version: the distribution's suite that has it, and what differs from the recipe."""

    suite: Suite
    budget: Budget | None = None
    features: tuple[Step, ...] = ()  # beside the recipe's own


class SlimVersion(Version, Slim):
    """One version of packages' files, and what it takes beside the recipe's own lists."""

    compiled: Compiled | None = None
    archive: Archive | None = None


class Plan(Frozen):
    """What one version of an image is made of."""

    name: Name
    version: ImageVersion
    suite: Suite
    budget: Budget
    smoke: Smoke


class DockerfilePlan(Plan):
    """One version that an engine builds."""

    dockerfile: Dockerfile
    smoke: ToolSmoke


class SlimPlan(Plan):
    """One version of packages' files."""

    slim: Slim
    compiled: Compiled | None
    archive: Archive | None
    image: Runtime
    smoke: ServerSmoke

    def budget_of(self, *, compiled: bool) -> Budget:
        """What it may weigh: sources were compiled, or the stock programs stand in."""
        return self.compiled.budget if compiled and self.compiled else self.budget

    def with_archive(self, mirror: str | None, sha256: str | None) -> SlimPlan:
        """The archive from another address, and of another digest: what is asked for goes before what the recipe pins.

        Raises RecipeError where nobody says what its digest is.
        """
        if self.archive is None:
            return self
        archive = self.archive
        if mirror:
            # A folder keeps the vendor's own name of the file.
            url = mirror + archive.url.rpartition("/")[2] if mirror.endswith("/") else mirror
            archive = archive.model_copy(update={"url": url})
        if sha256:
            archive = archive.model_copy(update={"sha256": sha256})
        if archive.sha256 is None:
            raise RecipeError(
                f"{self.name} {self.version} pins no SHA-256 of {archive.url}.",
                advice="Give the one that the vendor publishes: --sha256 HEX.",
            )
        return self.model_copy(update={"archive": archive})


class Recipe(Frozen):
    """What both kinds of ``recipe.toml`` have."""

    name: Name
    summary: str
    made_from: tuple[Name, ...] = ()  # images that must be there before
    versions: Mapping[ImageVersion, Version] = Field(min_length=1)  # the last one is the default
    budget: Budget

    @property
    def default_version(self) -> str:
        """The version that is meant where none is named."""
        return list(self.versions)[-1]


class DockerfileRecipe(Recipe):
    """A ``recipe.toml`` that names a Dockerfile."""

    versions: Mapping[ImageVersion, Version] = Field(min_length=1)
    dockerfile: Dockerfile
    smoke: ToolSmoke

    def plan(self, version: str) -> DockerfilePlan:
        """Raises RecipeError where there is no such version."""
        found = _found(self.name, self.versions, version)
        return DockerfilePlan(
            name=self.name,
            version=version,
            suite=found.suite,
            dockerfile=self.dockerfile.filled(version),
            budget=found.budget or self.budget,
            smoke=ToolSmoke(features=self.smoke.features + found.features),
        )


class SlimRecipe(Recipe):
    """A ``recipe.toml`` that names files of packages."""

    versions: Mapping[ImageVersion, SlimVersion] = Field(min_length=1)
    slim: Slim
    image: Runtime
    smoke: ServerSmoke

    @model_validator(mode="after")
    def _passwords_belong_together(self) -> SlimRecipe:
        smoke = self.smoke
        if bool(smoke.password_file) != bool(smoke.client_password) or bool(smoke.refused) != bool(smoke.password_file):
            raise ValueError("smoke: password_file, client_password and refused belong together")
        return self

    def plan(self, version: str) -> SlimPlan:
        """Raises RecipeError where there is no such version."""
        found = _found(self.name, self.versions, version)
        more = Slim(**{name: getattr(found, name) for name in Slim.model_fields})
        features = self.smoke.features + found.features
        return SlimPlan(
            name=self.name,
            version=version,
            suite=found.suite,
            slim=self.slim.with_more(more).filled(version),
            compiled=found.compiled,
            archive=found.archive,
            image=self.image.filled(version),
            budget=found.budget or self.budget,
            smoke=self.smoke.model_copy(update={"features": features}),
        )


def parse_recipe(content: bytes) -> SlimRecipe | DockerfileRecipe:
    """Raises RecipeError that names the field which cannot be read."""
    if len(content) > RECIPE_BYTES_MAX:
        raise RecipeError(f"{RECIPE_FILE} is over {RECIPE_BYTES_MAX:,} bytes.")
    try:
        told = tomllib.loads(content.decode())
        return _kind_of(told).model_validate(told)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{RECIPE_FILE} is no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{RECIPE_FILE} cannot be read: {place or 'it'}: {message}.") from error


def _kind_of(told: Mapping[str, object]) -> type[SlimRecipe] | type[DockerfileRecipe]:
    of_packages, by_dockerfile = {"slim", "image"} & told.keys(), "dockerfile" in told
    if bool(of_packages) == by_dockerfile:
        raise RecipeError(f"{RECIPE_FILE} must have either [slim] and [image], or [dockerfile].")
    return DockerfileRecipe if by_dockerfile else SlimRecipe


def read_recipe(folder: Path) -> SlimRecipe | DockerfileRecipe:
    """The recipe in this folder. Raises RecipeError."""
    path = folder / RECIPE_FILE
    try:
        return parse_recipe(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error


def slim_plan(folder: Path, version: str) -> SlimPlan:
    """One version of a recipe that is known to name files of packages. Raises RecipeError."""
    plan = read_recipe(folder).plan(version)
    if isinstance(plan, SlimPlan):
        return plan
    raise RecipeError(f"{plan.name} is not made of packages' files.")


def find_recipes(root: Path) -> dict[str, Path]:
    """The folders below ``root`` that hold a recipe, by its name. Raises RecipeError."""
    folders = sorted(path.parent for path in root.rglob(RECIPE_FILE))
    if not folders:
        raise RecipeError(
            f"There is no {RECIPE_FILE} below {root}.", advice="Run it from a checkout, or use --recipes."
        )
    return {read_recipe(folder).name: folder for folder in folders}


def build_order(wanted: str, made_from: Mapping[str, Iterable[str]]) -> list[str]:
    """``wanted`` and everything it is made from, what comes first first. Raises RecipeError for a circle."""
    needed, waiting = set[str](), [wanted]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(made_from.get(name, ()))
    try:
        return list(TopologicalSorter({name: made_from.get(name, ()) for name in sorted(needed)}).static_order())
    except CycleError as error:
        raise RecipeError(f"{wanted} is made from itself: {' from '.join(error.args[1])}.") from error


def _found(name: str, versions: Mapping[str, _V], wanted: str) -> _V:
    if wanted not in versions:
        raise RecipeError(f"{name} has no version {wanted[:32]!r}.", advice=f"There is {', '.join(versions)}.")
    return versions[wanted]


def _fill(texts: Iterable[str], version: str) -> tuple[str, ...]:
    return tuple(text.replace(_PLACE, version) for text in texts)
