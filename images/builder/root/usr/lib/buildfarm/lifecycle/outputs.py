"""What a build leaves beside its layers: launch.toml and build.toml, checked (buildpack.md, "Data Format")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle import toml
from lifecycle.failure import BUILD_WRONG, LifecycleError

_TYPE = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True)
class Process:
    """A way to start the app."""

    type: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    default: bool
    working_dir: str
    buildpack: str


@dataclass(frozen=True)
class Launch:
    """What one buildpack says about the image."""

    processes: tuple[Process, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    slices: tuple[tuple[str, ...], ...] = ()


def read_launch(folder: Path, buildpack: str) -> Launch:
    """launch.toml. Raises LifecycleError that names what is wrong in it."""
    where = f"launch.toml of the buildpack {buildpack}"
    found = toml.read(folder / "launch.toml", BUILD_WRONG, where)
    return Launch(
        processes=tuple(
            process for table in _tables(found, "processes", where) if (process := _process(table, buildpack, where))
        ),
        labels=tuple(
            (_text(table, "key", where), _text(table, "value", where)) for table in _tables(found, "labels", where)
        ),
        slices=tuple(_texts(table, "paths", where) for table in _tables(found, "slices", where)),
    )


def read_unmet(folder: Path, buildpack: str) -> frozenset[str]:
    """The names of build.toml's ``unmet``. Raises LifecycleError."""
    where = f"build.toml of the buildpack {buildpack}"
    found = toml.read(folder / "build.toml", BUILD_WRONG, where)
    return frozenset(_text(table, "name", where) for table in _tables(found, "unmet", where))


def _process(table: Mapping[str, Any], buildpack: str, where: str) -> Process | None:
    kind = _text(table, "type", where)
    if not _TYPE.fullmatch(kind):
        raise LifecycleError(BUILD_WRONG, f"{where}: {kind[:80]!r} is not a valid process type.")
    command = _texts(table, "command", where)
    if not command:
        raise LifecycleError(BUILD_WRONG, f"{where}: the process {kind} has no command.")
    if table.get("exec-env") and "production" not in table["exec-env"] and "*" not in table["exec-env"]:
        return None  # Buildpack API 0.12: a process for tests alone
    return Process(
        type=kind,
        command=command,
        args=_texts(table, "args", where),
        default=table.get("default") is True,
        working_dir=str(table.get("working-dir", "")),
        buildpack=buildpack,
    )


def merged(launches: Sequence[Launch]) -> Launch:
    """Of all buildpacks in order: a later process or label of a name wins, and only the last default stays one."""
    processes: dict[str, Process] = {}
    labels: dict[str, str] = {}
    default = ""
    for launch in launches:
        for process in launch.processes:
            processes[process.type] = process
            if process.default:
                default = process.type
            elif default == process.type:
                default = ""
        labels |= dict(launch.labels)
    return Launch(
        processes=tuple(
            Process(item.type, item.command, item.args, item.type == default, item.working_dir, item.buildpack)
            for _, item in sorted(processes.items())
        ),
        labels=tuple(sorted(labels.items())),
        slices=tuple(item for launch in launches for item in launch.slices),
    )


def _tables(found: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    tables = found.get(key) or []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise LifecycleError(BUILD_WRONG, f"{where}: {key} must be an array of tables.")
    return tables


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise LifecycleError(BUILD_WRONG, f"{where}: {key} must be text.")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = table.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise LifecycleError(BUILD_WRONG, f"{where}: {key} must be an array of text.")
    return tuple(values)
