"""The table of vendors' own buildpacks, and which of a repository's tags is its newest release."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

# A release, whose parts are compared as numbers: v9 is older than v10. Others, such as v2-beta, are not releases.
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Vendor:
    """What a name of `buildfarm buildpacks use` stands for."""

    name: str
    about: str
    source: str  # where the vendor documents which ones it runs
    note: str  # what they need of the farm
    ref: str  # of each repository; "v*" is the newest tag of that pattern
    urls: tuple[str, ...]  # in the vendor's order

    @property
    def addresses(self) -> tuple[str, ...]:
        """URL#REF of each."""
        return tuple(f"{url}#{self.ref}" for url in self.urls)


def read_vendors() -> dict[str, Vendor]:
    """The table that comes with the package, by name."""
    table = tomllib.loads(resources.files("buildfarm.buildpacks").joinpath("vendors.toml").read_text())
    return {name: Vendor(name, **{**row, "urls": tuple(row["urls"])}) for name, row in table.items()}


def newest_tag(names: Sequence[str], pattern: str) -> str:
    """The newest release of these tags, by a pattern that ends with *; empty if there is none."""
    start = pattern.removesuffix("*")
    versions = {
        tuple(int(part) for part in found[1].split(".")): name
        for name in names
        if name.startswith(start) and (found := _VERSION.fullmatch(name))
    }
    return versions[max(versions)] if versions else ""
