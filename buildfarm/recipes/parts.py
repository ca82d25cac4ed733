"""The parts of a recipe, as they stand in ``recipe.toml``."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from buildfarm.errors import RecipeError
from buildfarm.fields import Frozen, HttpUrl, Sha256

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
    made: tuple[InsidePath, ...] = ()  # scripts of the recipe, run as SCRIPT PACKAGES TREE to write files of the image
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
            made=self.made + other.made,
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
            made=self.made,
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
        """Copies the context of the recipe in ``folder`` to ``target``. Raises RecipeError if a part is missing."""
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
                    f"The recipe needs {there}, which does not exist.",
                    advice="It needs a whole checkout: name its images/ with --recipes.",
                )


class Budget(Frozen):
    """How large the image may be; 1 MB is 1,000,000 bytes."""

    uncompressed_mb: float = Field(gt=0)
    compressed_mb: float = Field(gt=0)

    def overrun(self, uncompressed_bytes: int, compressed_bytes: int) -> str:
        """What is over the budget, as the rest of a sentence; empty if nothing is."""
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
    stop_code: int = 0  # its exit code after the stop signal
    refused: Step | None = None  # runs with a wrong password
    write: Step
    read: Step  # what was written; runs again after a stop and after a kill


class ToolSmoke(Smoke):
    """What an image that is not a server must do: show its features, each in a container without a network."""

    features: tuple[Step, ...] = Field(min_length=1)


def _fill(texts: Iterable[str], version: str) -> tuple[str, ...]:
    return tuple(text.replace(_PLACE, version) for text in texts)
