"""The project descriptor, project.toml, as far as the farm follows it. Pure.

Source: buildpacks/spec, extensions/project-descriptor.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.buildpacks.address import Buildpack, FolderBuildpack, parse_buildpack
from buildfarm.errors import CompileError, DetectError

PROJECT = "project.toml"

_KEYS = ("group", "buildpacks", "env", "include", "exclude")


@dataclass(frozen=True)
class Project:
    """What it asks for; empty if it asks for nothing."""

    buildpacks: tuple[Buildpack, ...]
    env: Mapping[str, Any]
    include: tuple[str, ...]  # patterns of .gitignore
    exclude: tuple[str, ...]  # the same


def read_project(found: Mapping[str, Any], has: Callable[[str], bool]) -> Project:
    """The file's content; ``has`` is whether the app has something at a path. Raises DetectError and CompileError."""
    tables = list(_tables(found))
    first: dict[str, Any] = {key: next((table[key] for table in tables if table.get(key)), []) for key in _KEYS}
    include, exclude = _patterns(first["include"]), _patterns(first["exclude"])
    if include and exclude:
        raise CompileError(
            f"{PROJECT} has both include and exclude.",
            advice="Leave out one: include already leaves out everything else.",
        )
    return Project(
        buildpacks=_buildpacks(tables[0], first["group"] or first["buildpacks"], has),
        env=dict(_variable(item) for item in _mappings(first["env"])),
        include=include,
        exclude=exclude,
    )


def _tables(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where the file's schema keeps its keys. Without a version, both schemas are read."""
    version = table_of(found, "_").get("schema-version")
    if str(version) not in ("None", "0.1", "0.2"):
        raise CompileError(
            f"{PROJECT} has the schema version {str(version)[:40]!r}; this farm reads 0.1 and 0.2.",
            advice='Set schema-version = "0.2" in the table [_].',
        )
    if str(version) != "0.1":
        # Drafts of 0.2 had everything below io.buildpacks.build, where env still is.
        buildpacks = table_of(table_of(found, "io"), "buildpacks")
        yield {key: value for key, value in buildpacks.items() if key != "env"}
        yield table_of(buildpacks, "build")
    if str(version) != "0.2":
        yield table_of(found, "build")


def _buildpacks(table: Mapping[str, Any], group: Any, has: Callable[[str], bool]) -> tuple[Buildpack, ...]:
    """Those of ``pre``, the group, and those of ``post``."""
    before, after = (_mappings(table_of(table, key).get("group") or []) for key in ("pre", "post"))
    if (before or after) and not group:
        raise DetectError(
            f"{PROJECT} adds buildpacks before or after others, and names no group of its own.",
            advice="Name the group's buildpacks too.",
        )
    items = [*before, *_mappings(group), *after]
    return tuple(_buildpack(item, f"{PROJECT}, buildpack {number}", has) for number, item in enumerate(items, 1))


def _buildpack(item: Mapping[str, Any], where: str, has: Callable[[str], bool]) -> Buildpack:
    """A ``uri`` without a scheme is a folder beside the file, if there is one, else a name."""
    if item.get("script"):
        raise DetectError(
            f"{where}: inline scripts are not supported.",
            advice="Put the buildpack into a folder of the app, and name the folder as its uri.",
        )
    uri = str(item.get("uri") or "")
    path = posixpath.normpath(uri) if uri else ""
    is_relative = uri.startswith(("./", "../", "/")) or uri in (".", "..")
    if not is_relative and (not path or ":" in uri or not has(path)):
        try:
            return parse_buildpack(uri or str(item.get("id") or ""))
        except ValueError as error:
            raise DetectError(f"{where}: {error}.") from error
    if path.startswith(("/", "..")) or path == "." or "\0" in path:
        raise DetectError(f"{where}: {uri[:200]!r} is not a folder inside of the app.")
    if not has(path):
        raise DetectError(f"{where}: the app has no folder {uri[:200]!r}.", advice=f"The path starts at {PROJECT}.")
    return FolderBuildpack(path)


def _variable(item: Mapping[str, Any]) -> tuple[str, Any]:
    if "name" not in item or "value" not in item:
        raise CompileError(f"{PROJECT}: an entry of env lacks its name or value.", advice="Give it both.")
    return str(item["name"]), item["value"]


def _patterns(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise CompileError(f"{PROJECT}: include and exclude must be lists of patterns.")
    return tuple(found)


def table_of(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What stands under ``key`` if it is a table or an object, else an empty one."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    if not isinstance(found, list):
        raise CompileError(f"{PROJECT}: a list was expected.")
    return [item if isinstance(item, dict) else {"uri": item} for item in found]
