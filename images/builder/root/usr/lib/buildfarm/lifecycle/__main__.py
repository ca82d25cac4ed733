"""``python3 -m lifecycle detect|build``: JSON in, the buildpacks' output on standard error, JSON out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lifecycle.build import build
from lifecycle.descriptor import Descriptor, read
from lifecycle.detect import Detection, Member
from lifecycle.failure import BUILD_WRONG, LifecycleError
from lifecycle.plan import Entry


def main() -> None:
    """Ends with the specification's exit code; a failure's sentence is in the JSON."""
    command, asked = sys.argv[1], json.load(sys.stdin)
    try:
        told = {"detect": _detect, "build": _build}[command](asked)
    except LifecycleError as failure:
        json.dump({"failure": failure.message}, sys.stdout)
        sys.exit(failure.code)
    json.dump(told, sys.stdout, default=str)


def _detect(asked: dict[str, Any]) -> dict[str, Any]:
    """``order``: groups of buildpacks or buildpackages, each the folders of its buildpacks; each must take the app."""
    packages = [[[read(Path(folder)) for folder in folders] for folders in group] for group in asked["order"]]
    known = [buildpack for group in packages for package in group for buildpack in package]
    order = [[Member(_main(package), optional=False) for package in group] for group in packages]
    group, plan = Detection(known).detect(order)
    return {
        "group": [
            {"folder": str(item.folder), "id": item.id, "version": item.version, "api": item.api} for item in group
        ],
        "plan": [
            {
                "name": entry.name,
                "providers": [str(item.folder) for item in entry.providers],
                "requires": entry.requires,
            }
            for entry in plan
        ],
    }


def _main(package: list[Descriptor]) -> Descriptor:
    """Of a buildpackage, the buildpack that names the others."""
    composites = [buildpack for buildpack in package if buildpack.order]
    named = {(item.id, item.version) for buildpack in composites for group in buildpack.order for item in group}
    tops = [buildpack for buildpack in package if (buildpack.id, buildpack.version) not in named]
    if len(tops) != 1:
        names = ", ".join(buildpack.id for buildpack in package)
        raise LifecycleError(
            BUILD_WRONG, f"A buildpackage must have one buildpack at its top; of {names} that are {len(tops)}."
        )
    return tops[0]


def _build(asked: dict[str, Any]) -> dict[str, Any]:
    """``group`` and ``plan`` as detect returned them; ``previous`` and ``sbom``: see `build.build`."""
    group = [read(Path(item["folder"])) for item in asked["group"]]
    by_folder = {str(item.folder): item for item in group}
    plan: list[Entry[Descriptor]] = [
        Entry(entry["name"], [by_folder[folder] for folder in entry["providers"]], entry["requires"])
        for entry in asked["plan"]
    ]
    return build(group, plan, asked["previous"], Path(asked["sbom"]) if asked.get("sbom") else None)
