"""What an app says about itself: .buildpacks, project.toml, scalingo.json and app.json. Pure.

Sources: heroku-buildpack-multi (.buildpacks); buildpacks/spec extensions/project-descriptor.md; Heroku, "app.json
Schema"; Scalingo, "Application Manifest".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.buildpacks.address import Buildpack, parse_buildpack
from buildfarm.config_vars import check_env
from buildfarm.errors import CompileError, DetectError
from workers.sandbox.nested import NestedTooDeepError, parse_json, parse_toml

# In this order: the first that names buildpacks decides.
FILES = (".buildpacks", "project.toml", "scalingo.json", "app.json")

_SIMPLER = "Simplify it, and split its longest lines."


@dataclass(frozen=True)
class AppManifest:
    """What the app asks for; empty if it asks for nothing."""

    buildpacks: tuple[Buildpack, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # config vars if the request has none of that name
    formation: Mapping[str, int] = field(default_factory=dict)  # process type to how many

    @property
    def pinned(self) -> bool:
        """Whether all its buildpacks are: if not, an equal request can give another image."""
        return all(item.pinned for item in self.buildpacks)


def read_manifests(read: Callable[[str], str | None]) -> AppManifest:
    """Of all files that are there. Raises DetectError and CompileError that name the file and line."""
    found = [_PARSERS[name](text, name) for name in FILES if (text := read(name)) is not None]
    return AppManifest(
        buildpacks=next((manifest.buildpacks for manifest in found if manifest.buildpacks), ()),
        env={name: value for manifest in reversed(found) for name, value in manifest.env.items()},
        formation={name: count for manifest in reversed(found) for name, count in manifest.formation.items()},
    )


def _parse_list(text: str, file: str) -> AppManifest:
    """A line a buildpack; blank lines and those that start with # say nothing."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return AppManifest(
        tuple(_buildpack(line, f"{file}, line {number}") for number, line in lines if line and not line.startswith("#"))
    )


def _parse_project(text: str, file: str) -> AppManifest:
    try:
        found = parse_toml(text)
    except NestedTooDeepError as error:
        raise CompileError(f"{file} cannot be used: {error}.", advice=_SIMPLER) from error
    except ValueError as error:
        raise CompileError(f"{file} is not TOML: {error}.") from error
    tables = _table(_table(found, "io"), "buildpacks")
    group = tables.get("group") or _table(found, "build").get("buildpacks") or []
    # Schema 0.2; what older ones called build.env
    env = _table(tables, "build").get("env") or _table(found, "build").get("env") or []
    return AppManifest(
        buildpacks=tuple(
            _buildpack(str(item.get("uri") or item.get("id") or ""), f"{file}, buildpack {number}")
            for number, item in enumerate(_mappings(group, file), start=1)
        ),
        env=_variables({str(item.get("name")): item.get("value") for item in _mappings(env, file)}, file),
    )


def _parse_json(text: str, file: str) -> AppManifest:
    try:
        found = parse_json(text)
    except NestedTooDeepError as error:
        raise CompileError(f"{file} cannot be used: {error}.", advice=_SIMPLER) from error
    except ValueError as error:
        raise CompileError(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise CompileError(f"{file} is not a JSON object.")
    variables = {}
    for name, value in _table(found, "env").items():
        # What must be made up, or asked for, is the orchestrator's part.
        given = value.get("value") if isinstance(value, dict) and not value.get("generator") else value
        if isinstance(given, str | int | float):
            variables[name] = given
    formation = {}
    for name, wanted in _table(found, "formation").items():
        count = wanted.get("quantity", wanted.get("amount", 1)) if isinstance(wanted, dict) else wanted
        if not isinstance(count, int) or not 0 <= count <= 1000:
            raise CompileError(f"{file}: formation.{name} must be a number from 0 to 1000.")
        formation[str(name)] = count
    return AppManifest(
        buildpacks=tuple(
            _buildpack(str(item.get("url") or ""), f"{file}, buildpack {number}")
            for number, item in enumerate(_mappings(found.get("buildpacks") or [], file), start=1)
        ),
        env=_variables(variables, file),
        formation=formation,
    )


_PARSERS: Mapping[str, Callable[[str, str], AppManifest]] = {
    ".buildpacks": _parse_list,
    "project.toml": _parse_project,
    "scalingo.json": _parse_json,
    "app.json": _parse_json,
}


def _buildpack(text: str, where: str) -> Buildpack:
    try:
        return parse_buildpack(text)
    except ValueError as error:
        raise DetectError(f"{where}: {error}.") from error


def _variables(values: Mapping[str, Any], file: str) -> dict[str, str]:
    try:
        return check_env({name: str(value) for name, value in values.items()})
    except ValueError as error:
        raise CompileError(f"{file}: {error}.") from error


def _table(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _mappings(found: Any, file: str) -> list[dict[str, Any]]:
    if not isinstance(found, list):
        raise CompileError(f"{file}: a list was expected.")
    return [item if isinstance(item, dict) else {"url": item, "uri": item} for item in found]
