"""What the app's newest image says of its buildpacks' layers (platform.md, "io.buildpacks.lifecycle.metadata")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.model import BuildRequest, Layer
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig
from buildfarm.oci.registry import Registry
from workers.sandbox.nested import parse_json

LIFECYCLE_LABEL = "io.buildpacks.lifecycle.metadata"


@dataclass(frozen=True)
class PreviousImage:
    """Nothing, if there is no image or other tools made it."""

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # buildpack to layer to what is said of it
    layers: Mapping[tuple[str, str], Layer] = field(default_factory=dict)  # buildpack and layer to where its files are


def read_previous(registry: Registry, request: BuildRequest) -> PreviousImage:
    """Raises RegistryError if the registry cannot be asked."""
    try:
        manifest, _ = registry.read_manifest(request.repository, request.tag)
        config = ImageConfig.parse(registry.read_blob(request.repository, manifest.config.digest))
        told = parse_json((config.runtime.get("Labels") or {}).get(LIFECYCLE_LABEL, "{}"))
    except (NotInRegistryError, ValueError):
        return PreviousImage()
    blobs = dict(zip(config.diff_ids, manifest.layers, strict=True))
    records: dict[str, dict[str, Any]] = {}
    layers = {}
    for buildpack in told.get("buildpacks", []):
        for name, layer in buildpack.get("layers", {}).items():
            blob = blobs.get(Digest(layer["sha"]))
            if blob is not None:
                records.setdefault(buildpack["key"], {})[name] = layer
                layers[buildpack["key"], name] = Layer(
                    digest=blob.digest, diff_id=Digest(layer["sha"]), size_bytes=blob.size, origin="", reused=True
                )
    return PreviousImage(records, layers)
