"""Layers: their flags, what is restored before a build, what becomes of them after (buildpack.md, "Layer Types")."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle import toml
from lifecycle.failure import BUILD_WRONG, LifecycleError

FORBIDDEN = ("build", "launch", "store")
_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._@+-]{0,127}")


@dataclass(frozen=True)
class LayerRecord:
    """What is known of a layer without its files. ``reused``: its files are those of the app's previous image."""

    buildpack: str
    name: str
    launch: bool = False
    build: bool = False
    cache: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reused: bool = False


def restore(folder: Path, kept: Path, records: Mapping[str, LayerRecord]) -> list[str]:
    """Makes a buildpack's folder what its build may find: cached layers, and what was said of launch layers.

    ``kept`` holds the files of layers that were cached. Flags are never restored: a buildpack states again which
    layers it wants. Returns the names of those that the build finds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    restored: list[str] = []
    for name, record in records.items():
        only_launch = record.launch and not record.build and not record.cache
        if record.cache and (kept / name).is_dir():
            copy(kept / name, folder / name)
        elif not only_launch:
            continue
        (folder / f"{name}.toml").write_text(toml.write({"metadata": record.metadata}))
        restored.append(name)
    return restored


def copy(source: Path, target: Path) -> None:
    """A layer as it is, links and permissions too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", "--", source, target], check=True)


def collect(buildpack: str, folder: Path, previous: Mapping[str, LayerRecord]) -> list[LayerRecord]:
    """What a build left: its layers in the order of their names. What has no flag is put aside as ``<layer>.ignore``.

    Raises LifecycleError.
    """
    records = []
    names = sorted(
        {path.stem for path in folder.glob("*.toml")} | {path.name for path in folder.iterdir() if path.is_dir()}
    )
    for name in names:
        if name.endswith(".ignore") or (name in FORBIDDEN and not (folder / name).is_dir()):
            continue
        if name in FORBIDDEN or not _NAME.fullmatch(name):
            raise LifecycleError(
                BUILD_WRONG, f"The buildpack {buildpack} made a layer named {name[:80]!r}, which is a reserved name."
            )
        where = f"{name}.toml of the buildpack {buildpack}"
        record = _record(buildpack, name, toml.read(folder / f"{name}.toml", BUILD_WRONG, where), where)
        if not (record.launch or record.build or record.cache):
            if (folder / name).is_dir():
                remove(folder / f"{name}.ignore")
                (folder / name).rename(folder / f"{name}.ignore")
            continue
        if not (folder / name).is_dir():
            record = _without_files(record, previous.get(name))
        records.append(record)
    return records


def _without_files(record: LayerRecord, previous: LayerRecord | None) -> LayerRecord:
    """A launch layer without files is the one of the app's previous image."""
    if record.build or record.cache:
        raise LifecycleError(
            BUILD_WRONG,
            f"The layer {record.name} of the buildpack {record.buildpack} is for build or cache and has no files.",
        )
    if previous is None or not previous.launch:
        raise LifecycleError(
            BUILD_WRONG,
            f"The buildpack {record.buildpack} reuses the layer {record.name}, "
            "and the app's previous image has no layer of that name.",
        )
    return LayerRecord(record.buildpack, record.name, launch=True, metadata=record.metadata, reused=True)


def _record(buildpack: str, name: str, found: Mapping[str, Any], where: str) -> LayerRecord:
    types, metadata = found.get("types") or {}, found.get("metadata") or {}
    if not isinstance(types, dict) or not all(isinstance(value, bool) for value in types.values()):
        raise LifecycleError(BUILD_WRONG, f"{where}: [types] must be launch, build and cache, each true or false.")
    if not isinstance(metadata, dict):
        raise LifecycleError(BUILD_WRONG, f"{where}: metadata must be a table.")
    flags = {key: types.get(key, False) for key in ("launch", "build", "cache")}
    return LayerRecord(buildpack, name, metadata=metadata, **flags)


def remove(path: Path) -> None:
    """Removes what is there, read-only folders too, as Go's module cache and Nix leave them."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        for place, folders, _ in os.walk(path):
            for folder in (Path(place, name) for name in folders):
                if not folder.is_symlink():
                    folder.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
