"""The catalogue of build tools: the versions that the farm makes, and the package that each is made from.

It is data of this package, ``tools.toml``. A tool becomes an artifact of the registry, ``tools/NAME`` with the version
as its tag, which nodes mount into sandboxes. docs/images.md explains every field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from buildfarm.errors import RecipeError
from buildfarm.fields import Frozen, ImageVersion, Name
from buildfarm.recipes.parts import InsidePath

TOOLS = "tools"  # the first part of their repositories
CATALOGUE_FILE = "tools.toml"
CATALOGUE_BYTES_MAX = 256 * 1024
ARTIFACT_TYPE = "application/vnd.buildfarm.tool.v1"
MACHINE = "io.buildfarm.machine"  # annotation: what the tool runs on, as `uname -m` prints it, or "any"
UNPACKED_BYTES = "io.buildfarm.unpacked-bytes"  # annotation: of its tar archive
PACKAGE = "io.buildfarm.package"  # annotation: REGISTRY:PACKAGE@VERSION, with its digest after a #

ANY = "any"
Machine = Literal["any", "x86_64", "aarch64"]
Package = Annotated[str, StringConstraints(pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*$")]
# As each registry publishes it: npm in base64, PyPI in hexadecimal digits
Integrity = Annotated[str, StringConstraints(pattern=r"^(sha512-[A-Za-z0-9+/]{86}==|sha256:[0-9a-f]{64})$")]


class ToolVersion(Frozen):
    """One version: the digest of its package for each machine."""

    any: Integrity | None = None
    x86_64: Integrity | None = None
    aarch64: Integrity | None = None
    npm: Mapping[Machine, Package] | None = None  # if this version's package has another name

    @property
    def kinds(self) -> dict[Machine, Integrity]:
        """The digest for each kind of machine."""
        found: dict[Machine, Integrity | None] = {"any": self.any, "x86_64": self.x86_64, "aarch64": self.aarch64}
        return {kind: digest for kind, digest in found.items() if digest}

    def kind_for(self, machine: str) -> Machine | None:
        """The kind of machine under which this one finds its digest; None if there is none."""
        return next((kind for kind in self.kinds if kind in (ANY, machine)), None)


class Tool(Frozen):
    """A build tool, and where its versions come from."""

    npm: Mapping[Machine, Package] | None = None  # its package there, by machine
    pypi: Package | None = None  # or there
    buildpacks: tuple[Name, ...] = Field(min_length=1)  # those of the builder whose plans name it
    files: tuple[InsidePath, ...] = ()  # an app without any of them needs no such tool; none: every app may
    programs: tuple[InsidePath, ...] = ()  # made executable; these are patterns of the shell's kind
    drop: tuple[InsidePath, ...] = ()  # what no build needs; likewise
    strip: bool = False  # the programs lose their symbols
    versions: Mapping[ImageVersion, ToolVersion] = Field(min_length=1)  # the last one is the default

    @model_validator(mode="after")
    def _has_its_packages(self) -> Tool:
        if (self.npm is None) == (self.pypi is None):
            raise ValueError("name either npm or pypi")
        for version, made in self.versions.items():
            found = [kind for kind in made.kinds if self.package(made, kind)]
            if not found or len(found) != len(made.kinds):
                raise ValueError(f"version {version} needs a digest, and a package for each machine that it has one of")
        return self

    def package(self, made: ToolVersion, kind: Machine) -> Package | None:
        """The package of this version for this kind of machine."""
        return self.pypi or (made.npm or self.npm or {}).get(kind)


class ToolPlan(Frozen):
    """What one version of a tool is made of, on one kind of machine."""

    name: Name
    version: ImageVersion
    machine: Machine
    registry: Literal["npm", "pypi"]
    package: Package
    integrity: Integrity
    programs: tuple[InsidePath, ...]
    drop: tuple[InsidePath, ...]
    strip: bool

    @property
    def origin(self) -> str:
        """The package and its digest, for the artifact's annotations."""
        return f"{self.registry}:{self.package}@{self.version}#{self.integrity}"


class Catalogue(Frozen):
    """All tools, by name."""

    tools: Mapping[Name, Tool]

    def find(self, text: str) -> tuple[str, str]:
        """Name and version of what NAME or NAME@VERSION means. Raises RecipeError."""
        name, _, version = text.partition("@")
        tool = self._tool(name)
        version = version or list(tool.versions)[-1]
        self._version(name, version)
        return name, version

    def offered(
        self, machine: str, buildpacks: frozenset[str], has: Callable[[str], bool]
    ) -> tuple[tuple[str, str], ...]:
        """Name and version of what these buildpacks can use on this machine; ``has`` is whether the app has a file."""
        return tuple(
            (name, version)
            for name, tool in self.tools.items()
            if buildpacks & frozenset(tool.buildpacks) and (not tool.files or any(map(has, tool.files)))
            for version, made in tool.versions.items()
            if made.kind_for(machine)
        )

    def plan(self, name: str, version: str, machine: str) -> ToolPlan:
        """Raises RecipeError if there is no such tool or version, or none for this machine."""
        tool, made = self._tool(name), self._version(name, version)
        kind = made.kind_for(machine)
        package = tool.package(made, kind) if kind else None
        if kind is None or package is None:
            raise RecipeError(f"The tool {name} {version} is not made for {machine}.")
        return ToolPlan(
            name=name,
            version=version,
            machine=kind,
            registry="pypi" if tool.pypi else "npm",
            package=package,
            integrity=made.kinds[kind],
            programs=tool.programs,
            drop=tool.drop,
            strip=tool.strip,
        )

    def _tool(self, name: str) -> Tool:
        if name not in self.tools:
            raise RecipeError(f"There is no tool {name[:40]!r}.", advice=f"The tools are {', '.join(self.tools)}.")
        return self.tools[name]

    def _version(self, name: str, version: str) -> ToolVersion:
        versions = self._tool(name).versions
        if version not in versions:
            known = ", ".join(versions)
            raise RecipeError(f"The tool {name} has no version {version[:40]!r}.", advice=f"Its versions are {known}.")
        return versions[version]


def parse_catalogue(content: bytes) -> Catalogue:
    """Raises RecipeError that names the field which cannot be read."""
    try:
        return Catalogue.model_validate({"tools": tomllib.loads(content.decode())})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{CATALOGUE_FILE} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{CATALOGUE_FILE} cannot be read: {place}: {message}.") from error


def catalogue_bytes() -> bytes:
    """The farm's own catalogue, as it is sent along with a request for a tool."""
    return resources.files(__package__).joinpath(CATALOGUE_FILE).read_bytes()


@cache
def own_catalogue() -> Catalogue:
    """The farm's own catalogue."""
    return parse_catalogue(catalogue_bytes())


def tool_repository(name: str) -> str:
    """Where a tool's versions are in the registry."""
    return f"{TOOLS}/{name}"
