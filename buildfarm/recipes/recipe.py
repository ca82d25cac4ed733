"""Recipes: what the farm's own images are made of, one folder each with a ``recipe.toml``.

There are two kinds: files of packages (`SlimRecipe`), and a Dockerfile (`DockerfileRecipe`). A recipe has versions side
by side; its method ``plan`` gives what one of them is made of: the recipe's own lists, then the version's, with
``{version}`` filled in. docs/images.md explains every field to those who write recipes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field, ValidationError, model_validator

from buildfarm.errors import RecipeError
from buildfarm.fields import Frozen, ImageVersion, Name
from buildfarm.recipes.parts import (
    Archive,
    Budget,
    Compiled,
    Dockerfile,
    Runtime,
    ServerSmoke,
    Slim,
    Step,
    Suite,
    ToolSmoke,
)
from buildfarm.recipes.plan import DockerfilePlan, SlimPlan

RECIPE_FILE = "recipe.toml"
CHECKOUT = "checkout"  # what a Dockerfile takes along travels in a folder of this name beside its recipe
BASE = "base"  # the image that has no recipe: what every Dockerfile stands on, one tag for each suite
IMAGER, IMAGER_VERSION = "imager", "trixie"  # the image that images of packages' files are made in

_V = TypeVar("_V", bound="Version")

RECIPE_BYTES_MAX = 64 * 1024


class Version(Frozen):
    """One version: the distribution's suite that has it, and what differs from the recipe."""

    suite: Suite
    budget: Budget | None = None
    features: tuple[Step, ...] = ()  # beside the recipe's own


class SlimVersion(Version, Slim):
    """One version of packages' files, and what it takes beside the recipe's own lists."""

    compiled: Compiled | None = None
    archive: Archive | None = None


class Recipe(Frozen):
    """What both kinds of ``recipe.toml`` have."""

    name: Name
    summary: str
    made_from: tuple[Name, ...] = ()  # images that must be there before
    versions: Mapping[ImageVersion, Version] = Field(min_length=1)  # the last one is the default
    budget: Budget

    @property
    def default_version(self) -> str:
        """The version that is meant if none is named."""
        return list(self.versions)[-1]


class DockerfileRecipe(Recipe):
    """A ``recipe.toml`` that names a Dockerfile."""

    versions: Mapping[ImageVersion, Version] = Field(min_length=1)
    dockerfile: Dockerfile
    smoke: ToolSmoke

    def plan(self, version: str) -> DockerfilePlan:
        """Raises RecipeError if there is no such version."""
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
        """Raises RecipeError if there is no such version."""
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
        raise RecipeError(f"{RECIPE_FILE} is not valid TOML: {error}.") from error
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


def _found(name: str, versions: Mapping[str, _V], wanted: str) -> _V:
    if wanted not in versions:
        raise RecipeError(f"{name} has no version {wanted[:32]!r}.", advice=f"Its versions are {', '.join(versions)}.")
    return versions[wanted]
