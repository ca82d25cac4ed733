"""What an app says about itself: .buildpacks, project.toml, scalingo.json and app.json. Pure.

Sources: heroku-buildpack-multi (.buildpacks); buildpacks/spec extensions/project-descriptor.md; Heroku, "app.json
Schema"; Scalingo, "Application Manifest".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, Protocol

from buildfarm.buildpacks.address import Buildpack, parse_buildpack
from buildfarm.buildpacks.project import PROJECT, read_project, table_of
from buildfarm.config_vars import check_env
from buildfarm.errors import CompileError, DetectError
from workers.sandbox.nested import NestedTooDeepError, Number, parse_json, parse_toml

# In this order: the first that names buildpacks decides.
APP_JSON = "app.json"
FILES = (".buildpacks", "project.toml", "scalingo.json", APP_JSON)

_Parser = Callable[[str, str], "AppManifest"]

_SIMPLER = "Simplify it, and split its longest lines."


@dataclass(frozen=True)
class AppManifest:
    """What the app asks for; empty if it asks for nothing."""

    buildpacks: tuple[Buildpack, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # config vars if the request has none of that name
    formation: Mapping[str, int] = field(default_factory=dict)  # process type to how many
    warnings: tuple[str, ...] = ()  # what of the files is ignored, a sentence each
    include: tuple[str, ...] = ()  # patterns of .gitignore: only these files are built
    exclude: tuple[str, ...] = ()  # the same: these files are not
    mistakes: Mapping[str, CompileError] = field(default_factory=dict)  # in files that only this buildpack reads

    @property
    def pinned(self) -> bool:
        """Whether all its buildpacks are: if not, an equal request can give another image."""
        return all(item.pinned for item in self.buildpacks)


def read_manifests(read: Callable[[str], str | None], has: Callable[[str], bool] = lambda _: False) -> AppManifest:
    """Of all files that are there; ``has`` is whether the app has something at a path.

    Raises DetectError and CompileError that name the file and line.
    """
    parsers: Mapping[str, _Parser] = {**_PARSERS, PROJECT: partial(_parse_project, has=has)}
    found = [parsers[name](text, name) for name in FILES if (text := read(name)) is not None]
    return AppManifest(
        buildpacks=next((manifest.buildpacks for manifest in found if manifest.buildpacks), ()),
        env={name: value for manifest in reversed(found) for name, value in manifest.env.items()},
        formation={name: count for manifest in reversed(found) for name, count in manifest.formation.items()},
        warnings=tuple(warning for manifest in found for warning in manifest.warnings),
        include=next((manifest.include for manifest in found if manifest.include), ()),
        exclude=next((manifest.exclude for manifest in found if manifest.exclude), ()),
    )


def _parse_list(text: str, file: str) -> AppManifest:
    """A line a buildpack; blank lines and those that start with # say nothing."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    return AppManifest(
        tuple(_buildpack(line, f"{file}, line {number}") for number, line in lines if line and not line.startswith("#"))
    )


def _parse_project(text: str, file: str, has: Callable[[str], bool]) -> AppManifest:
    try:
        found = parse_toml(text)
    except NestedTooDeepError as error:
        raise CompileError(f"{file} cannot be used: {error}.", advice=_SIMPLER) from error
    except ValueError as error:
        raise CompileError(f"{file} is not TOML: {error}.") from error
    project = read_project(found, has)
    return AppManifest(
        buildpacks=project.buildpacks,
        env=_variables(project.env, file),
        include=project.include,
        exclude=project.exclude,
    )


class _Wrong(Protocol):
    """Deals with what is wrong with a file: refuses the file, or notes what of it is ignored."""

    def __call__(self, sentence: str, advice: str = "") -> object: ...


def _parse_json(text: str, file: str) -> AppManifest:
    return _read_json(text, file, _refuse)


def _parse_app_json(text: str, file: str) -> AppManifest:
    """app.json is a file of other tools too: of what cannot be used a warning says that it is ignored."""
    warnings: list[str] = []
    found = _read_json(text, file, lambda sentence, advice="": warnings.append(f"{sentence}. It is ignored."))
    return replace(found, warnings=tuple(warnings))


def _refuse(sentence: str, advice: str = "") -> NoReturn:
    raise CompileError(f"{sentence}.", advice=advice)


def _read_json(text: str, file: str, wrong: _Wrong) -> AppManifest:
    try:
        found = parse_json(text, numbers=Number)
    except NestedTooDeepError as error:
        wrong(f"{file} cannot be used: {error}", _SIMPLER)
        return AppManifest()
    except ValueError as error:
        wrong(f"{file} is not JSON: {error}")
        return AppManifest()
    if not isinstance(found, dict):
        wrong(f"{file} is not a JSON object")
        return AppManifest()
    listed = found.get("buildpacks") or []
    if not isinstance(listed, list):
        wrong(f"{file}: buildpacks must be a list")
        listed = []
    return AppManifest(
        buildpacks=tuple(
            _buildpack(str(item.get("url") or "" if isinstance(item, dict) else item), f"{file}, buildpack {number}")
            for number, item in enumerate(listed, start=1)
        ),
        env=_given(table_of(found, "env"), file, wrong),
        formation=_formation(table_of(found, "formation"), file, wrong),
    )


def _given(env: Mapping[str, Any], file: str, wrong: _Wrong) -> dict[str, str]:
    """The config vars that have a value. What must be made up, or asked for, is the orchestrator's part."""
    given: dict[str, str] = {}
    for name, entry in env.items():
        value = entry.get("value") if isinstance(entry, dict) and not entry.get("generator") else entry
        if value is None or (value is entry and isinstance(entry, dict)):
            continue
        if isinstance(value, list | dict):
            wrong(f"{file}: the value of {_shown(name)} must be text, a number, true or false")
            continue
        try:
            given |= check_env({name: _text(value)})
        except ValueError as error:
            wrong(f"{file}: {error}")
    try:
        return check_env(given)
    except ValueError as error:
        wrong(f"{file}: {error}")
        return {}


def _formation(formation: Mapping[str, Any], file: str, wrong: _Wrong) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, wanted in formation.items():
        count = wanted.get("quantity", wanted.get("amount", Number(1))) if isinstance(wanted, dict) else wanted
        if isinstance(count, Number) and count.isdecimal() and len(count) <= 4 and int(count) <= 1000:
            counts[name] = int(count)
        else:
            wrong(f"{file}: formation.{_shown(name)} must be a number from 0 to 1000")
    return counts


def _shown(name: str) -> str:
    """A name for a sentence: JSON can have any character in it, and halves of characters."""
    return name[:80] if name.isprintable() else repr(name[:80])


def _text(value: Any) -> str:
    """As its author wrote it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_PARSERS: Mapping[str, _Parser] = {
    ".buildpacks": _parse_list,
    "scalingo.json": _parse_json,
    APP_JSON: _parse_app_json,
}


def _buildpack(text: str, where: str) -> Buildpack:
    try:
        return parse_buildpack(text)
    except ValueError as error:
        raise DetectError(f"{where}: {error}.") from error


def _variables(values: Mapping[str, Any], file: str) -> dict[str, str]:
    try:
        return check_env({name: _text(value) for name, value in values.items()})
    except ValueError as error:
        raise CompileError(f"{file}: {error}.") from error
