"""The packages of a build's image by name, for comparing two builds on the page and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from buildfarm.errors import BuildfarmError, StoreError

if TYPE_CHECKING:
    from buildfarm.model import Build
    from buildfarm.releases.facts.components.models import Contents


class HasContents(Protocol):
    """The farm, from inside or over HTTP."""

    def contents(self, image: str, *, with_base: bool = False) -> Contents:
        """An image's components."""


def packages_of(farm: HasContents, build: Build) -> dict[str, str] | None:
    """Versions by kind/name, those of the base too; None if they are not known, or not yet."""
    if build.result is None:
        return None
    if build.result.packages:  # of an image build
        pairs = (text.partition("=") for text in build.result.packages)
        return {name: version for name, _, version in pairs}
    try:
        found = farm.contents(f"{build.result.repository}@{build.result.digest}", with_base=True)
    except StoreError:
        raise
    except BuildfarmError:  # nodes have not read it yet, or read nothing here, or the image is gone
        return None
    versions: dict[str, set[str]] = {}
    for one in found.components:
        versions.setdefault(f"{one.kind}/{one.name}", set()).add(one.version)
    return {name: ", ".join(sorted(some)) for name, some in sorted(versions.items())}
