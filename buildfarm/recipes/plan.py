"""A plan: what one version of an image is made of."""

from __future__ import annotations

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
    Smoke,
    Suite,
    ToolSmoke,
)


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

        Raises RecipeError if its digest is not given.
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
                f"{self.name} {self.version} does not pin the SHA-256 of {archive.url}.",
                advice="Give the one that the vendor publishes: --sha256 HEX.",
            )
        return self.model_copy(update={"archive": archive})
