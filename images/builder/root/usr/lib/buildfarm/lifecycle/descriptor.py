"""A buildpack as its buildpack.toml describes it (buildpack.md, "buildpack.toml (TOML)")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle import toml
from lifecycle.failure import BUILD_WRONG, UNSUPPORTED_API, LifecycleError

APIS = ("0.10", "0.11", "0.12")

_ID = re.compile(r"[A-Za-z0-9./-]{1,200}")
_FORBIDDEN = ("app", "config", "generated", "sbom")


@dataclass(frozen=True)
class Element:
    """One place of an order's group: which buildpack, and whether the group also goes without it."""

    id: str
    version: str
    optional: bool


@dataclass(frozen=True)
class Target:
    """A system that a buildpack runs on; empty fields fit any."""

    os: str
    arch: str
    distros: tuple[tuple[str, str], ...]

    def fits(self, system: Mapping[str, str]) -> bool:
        """Whether it is this system: os, arch, distro and its version."""
        distro = not self.distros or any(
            name in ("", system["distro"]) and version in ("", system["version"]) for name, version in self.distros
        )
        return self.os in ("", system["os"]) and self.arch in ("", "*", system["arch"]) and distro


@dataclass(frozen=True)
class Descriptor:
    """A buildpack; ``order`` is empty for one with its own programs."""

    folder: Path
    id: str
    version: str
    api: str
    homepage: str
    clear_env: bool
    order: tuple[tuple[Element, ...], ...]
    targets: tuple[Target, ...]

    @property
    def folder_name(self) -> str:
        """Its folder below the layers."""
        return self.id.replace("/", "_")

    def fits(self, system: Mapping[str, str]) -> bool:
        """Whether it says that it runs here."""
        return not self.targets or any(target.fits(system) for target in self.targets)


def read(folder: Path) -> Descriptor:
    """Raises LifecycleError: 12 for an API that is not spoken here."""
    where = f"{folder.name}/buildpack.toml"
    found = toml.read(folder / "buildpack.toml", BUILD_WRONG, where)
    api = str(found.get("api", ""))
    about = found.get("buildpack")
    if not isinstance(about, dict):
        raise LifecycleError(BUILD_WRONG, f"{where} has no table [buildpack].")
    name = str(about.get("id", ""))
    if not _ID.fullmatch(name) or name in _FORBIDDEN or ".." in name:
        raise LifecycleError(BUILD_WRONG, f"{where}: {name[:80]!r} is not a valid buildpack id.")
    if api not in APIS:
        raise LifecycleError(
            UNSUPPORTED_API,
            f"{where}: the buildpack {name} uses Buildpack API {api!r}; this farm supports {', '.join(APIS)}.",
        )
    order = tuple(_group(where, group) for group in _tables(found, "order"))
    if not order:
        for program in ("detect", "build"):
            if not (folder / "bin" / program).is_file():
                raise LifecycleError(BUILD_WRONG, f"The buildpack {name} has no bin/{program}.")
            (folder / "bin" / program).chmod(0o755)
    return Descriptor(
        folder=folder,
        id=name,
        version=str(about.get("version", "")),
        api=api,
        homepage=str(about.get("homepage", "")),
        clear_env=about.get("clear-env") is True,
        order=order,
        targets=tuple(
            Target(
                str(target.get("os", "")),
                str(target.get("arch", "")),
                tuple(
                    (str(distro.get("name", "")), str(distro.get("version", "")))
                    for distro in _tables(target, "distros")
                ),
            )
            for target in _tables(found, "targets")
        ),
    )


def _group(where: str, group: Mapping[str, Any]) -> tuple[Element, ...]:
    elements = tuple(
        Element(str(item.get("id", "")), str(item.get("version", "")), item.get("optional") is True)
        for item in _tables(group, "group")
    )
    if not elements:
        raise LifecycleError(BUILD_WRONG, f"{where}: a group of its order is empty.")
    return elements


def _tables(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = table.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
