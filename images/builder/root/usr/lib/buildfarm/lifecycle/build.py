"""The phase build: each buildpack's bin/build in turn, with layers of those before (buildpack.md, "Phase #3")."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lifecycle import layers, outputs, toml
from lifecycle.descriptor import Descriptor
from lifecycle.environment import add_files, add_paths
from lifecycle.failure import BUILD_FAILED, BUILD_WRONG, LifecycleError
from lifecycle.layers import LayerRecord
from lifecycle.plan import Entry
from lifecycle.program import LAYERS, PLATFORM, base_environment, run

KEPT = Path("/cache/cnb")
_SBOM = ("cdx.json", "spdx.json", "syft.json")


def build(
    group: Sequence[Descriptor], plan: list[Entry[Descriptor]], previous: Mapping[str, Any], sbom: Path | None = None
) -> dict[str, Any]:
    """Builds with each buildpack, and says what the image is made of. ``previous`` is what the app's image says of its
    layers: buildpack to layer to record; ``sbom`` has that image's bills of materials. Raises LifecycleError.
    """
    kept = _read_kept()
    variables = base_environment()
    records: list[LayerRecord] = []
    launches: list[outputs.Launch] = []
    stores: dict[str, Any] = {}
    for buildpack in group:
        folder = LAYERS / buildpack.folder_name
        known = _known(buildpack.id, kept, previous)
        kept_layers = KEPT / "layers" / buildpack.folder_name
        for name in layers.restore(folder, kept_layers, known):
            _restore_sbom(name, folder, kept_layers, sbom / buildpack.folder_name if sbom else None)
        store = kept.get("stores", {}).get(buildpack.id)
        if store is not None:
            (folder / "store.toml").write_text(toml.write({"metadata": store}))
        print(f"-----> {buildpack.id} {buildpack.version}", file=sys.stderr, flush=True)
        code = _run(buildpack, folder, plan, variables)
        if code != 0:
            raise LifecycleError(BUILD_FAILED, f"The buildpack {buildpack.id} failed with exit code {code}.")
        plan = _left(plan, buildpack, outputs.read_unmet(folder, buildpack.id))
        made = layers.collect(buildpack.id, folder, known)
        _extend(variables, folder, made)
        records += made
        launches.append(outputs.read_launch(folder, buildpack.id))
        where = f"store.toml of the buildpack {buildpack.id}"
        stores[buildpack.id] = toml.read(folder / "store.toml", BUILD_WRONG, where).get("metadata") or {}
        _collect_sbom(buildpack, folder, made)
    launch = outputs.merged(launches)
    _write_metadata(group, launch)
    # For JSON has no dates, and metadata may hold some
    told = {"layers": [asdict(record) for record in records], "stores": stores}
    _keep(told, records)
    return {
        **told,
        "buildpacks": [_about(buildpack) for buildpack in group],
        "processes": [asdict(process) for process in launch.processes],
        "labels": dict(launch.labels),
        "slices": launch.slices,
    }


def _run(buildpack: Descriptor, folder: Path, plan: Sequence[Entry[Descriptor]], variables: Mapping[str, str]) -> int:
    entries = [require for entry in plan if buildpack in entry.providers for require in entry.requires]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "plan.toml"
        path.write_text(toml.write({"entries": entries}))
        own = {"CNB_LAYERS_DIR": str(folder), "CNB_BP_PLAN_PATH": str(path)}
        return run(buildpack, "build", [str(folder), str(PLATFORM), str(path)], variables, own)


def _left(plan: list[Entry[Descriptor]], buildpack: Descriptor, unmet: frozenset[str]) -> list[Entry[Descriptor]]:
    """What the buildpack could meet and did is done with; what it says is unmet goes to the next that provides it."""
    left = []
    for entry in plan:
        if buildpack not in entry.providers:
            left.append(entry)
        elif entry.name in unmet:
            left.append(Entry(entry.name, [other for other in entry.providers if other != buildpack], entry.requires))
    return left


def _extend(variables: dict[str, str], folder: Path, made: Sequence[LayerRecord]) -> None:
    for_build = [folder / record.name for record in made if record.build]
    for layer in for_build:
        add_paths(variables, layer, launch=False)
    for layer in for_build:
        add_files(variables, layer / "env")
        add_files(variables, layer / "env.build")


def _known(buildpack: str, kept: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, LayerRecord]:
    """Layers of the buildpack's last build: what the image says of launch layers, and the cache of the others."""
    known = {}
    for name, found in (previous.get(buildpack) or {}).items():
        record = LayerRecord(
            buildpack, name, launch=True, build=bool(found.get("build")), cache=bool(found.get("cache"))
        )
        known[name] = LayerRecord(**{**asdict(record), "metadata": found.get("data") or {}})
    for found in kept.get("layers", []):
        if found["buildpack"] == buildpack and found["cache"]:
            known[found["name"]] = LayerRecord(**{**found, "reused": False})
    return known


def _restore_sbom(name: str, folder: Path, kept: Path, image: Path | None) -> None:
    """A restored layer's bills of materials, from the cache or the image, where the build can replace them."""
    for kind in _SBOM:
        places = [kept / f"{name}.sbom.{kind}", *([image / name / f"sbom.{kind}"] if image else [])]
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            shutil.copyfile(found, folder / f"{name}.sbom.{kind}")


def _collect_sbom(buildpack: Descriptor, folder: Path, made: Sequence[LayerRecord]) -> None:
    """Bills of materials of what is in the image (buildpack.md, "Bill-of-Materials"), where platforms look for them."""
    to = LAYERS / "sbom" / "launch" / buildpack.folder_name
    sources = [(folder / f"launch.sbom.{kind}", to / f"sbom.{kind}") for kind in _SBOM]
    for record in made:
        if record.launch:
            sources += [(folder / f"{record.name}.sbom.{kind}", to / record.name / f"sbom.{kind}") for kind in _SBOM]
    for source, target in sources:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _write_metadata(group: Sequence[Descriptor], launch: outputs.Launch) -> None:
    """What the launcher reads (platform.md, "metadata.toml")."""
    processes = [
        {
            "type": process.type,
            "command": list(process.command),
            "args": list(process.args),
            "direct": True,
            "default": process.default,
            "working-dir": process.working_dir,
            "buildpack-id": process.buildpack,
        }
        for process in launch.processes
    ]
    folder = LAYERS / "config"
    folder.mkdir(exist_ok=True)
    buildpacks = [{"id": item.id, "version": item.version, "api": item.api} for item in group]
    (folder / "metadata.toml").write_text(toml.write({"processes": processes, "buildpacks": buildpacks}))


def _about(buildpack: Descriptor) -> dict[str, str]:
    return {"id": buildpack.id, "version": buildpack.version, "api": buildpack.api, "homepage": buildpack.homepage}


def _read_kept() -> dict[str, Any]:
    try:
        found = json.loads((KEPT / "records.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(told: Mapping[str, Any], records: Sequence[LayerRecord]) -> None:
    """For the app's next build; what the last one left there is done with."""
    layers.remove(KEPT)
    KEPT.mkdir()
    (KEPT / "records.json").write_text(json.dumps(told, default=str, sort_keys=True))
    for record in records:
        if record.cache:
            place = Path(record.buildpack.replace("/", "_")) / record.name
            layers.copy(LAYERS / place, KEPT / "layers" / place)
            for kind in _SBOM:
                about = place.with_name(f"{record.name}.sbom.{kind}")
                if (LAYERS / about).is_file():
                    shutil.copyfile(LAYERS / about, KEPT / "layers" / about)
