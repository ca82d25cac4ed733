"""Layers of Cloud Native Buildpacks in an image: each launch layer is a separate layer below the app's."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from buildfarm.errors import CompileError
from buildfarm.model import Layer
from buildfarm.oci.tree import Entry, Found
from workers.build_folder import BuildFolder
from workers.export.layering import PlannedLayer

LAUNCHER = "/cnb/lifecycle/launcher"
_OWN = ("config", "sbom")  # what the launcher and tools read, of all buildpacks together


@dataclass(frozen=True)
class LaunchLayer:
    """A layer to be: ``path`` is its folder below /layers. With ``reused``, it is that one, and has no files here."""

    path: str
    origin: str
    reused: Layer | None = None


@dataclass(frozen=True)
class LaunchLayers:
    """What Cloud Native Buildpacks add to an image; ``root`` is /layers."""

    root: BuildFolder
    layers: tuple[LaunchLayer, ...]
    process_types: tuple[str, ...]


def plan_launch_layers(launch: LaunchLayers, found: Sequence[Found]) -> tuple[PlannedLayer | Layer, ...]:
    """In the order of ``layers``, then one with what belongs to all; ``found`` is what a scan of /layers finds.

    Raises CompileError if a layer's folder is not in it.
    """
    top = launch.root.name
    _refuse_absent(launch, {item.name for item in found if item.is_folder})
    planned: list[PlannedLayer | Layer] = [
        layer.reused
        if layer.reused is not None
        else PlannedLayer(layer.origin, tuple(_below(found, top, [layer.path])), f"{top}/{layer.path}")
        for layer in launch.layers
    ]
    own = tuple(_below(found, top, _OWN))
    return (*planned, PlannedLayer("launch metadata", own))


def _refuse_absent(launch: LaunchLayers, folders: Set[str]) -> None:
    """Raises CompileError if a layer that the sandbox reported is not a plain folder in the scan."""
    for layer in launch.layers:
        buildpack, _, _ = layer.path.partition("/")
        if layer.reused is None and not folders >= {
            f"{launch.root.name}/{buildpack}",
            f"{launch.root.name}/{layer.path}",
        }:
            raise CompileError(
                f"The layer {layer.origin} has no files: /layers/{layer.path} is not a plain folder in plain folders.",
                advice="Leave the layer where the buildpack made it, and do not replace a folder above it by a link.",
            )


def process_links(launch: LaunchLayers) -> list[Entry]:
    """A link to the launcher for each process type (platform.md, "Outputs" of export)."""
    return [Entry(f"cnb/process/{name}", link=LAUNCHER) for name in sorted(launch.process_types)]


def _below(found: Sequence[Found], root: str, paths: Sequence[str]) -> list[Found]:
    """The folders of these paths with what is in them, and the folders that they are in."""
    tops = [f"{root}/{path}" for path in paths]
    above = {root} | {top.rsplit("/", count)[0] for top in tops for count in range(1, top.count("/"))}
    return [
        item
        for item in found
        if item.name in above or any(item.name == top or item.name.startswith(f"{top}/") for top in tops)
    ]
