"""What the app's newest image says of its buildpacks' layers (platform.md, "io.buildpacks.lifecycle.metadata")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.model import BuildRequest, Layer
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, ImageConfig
from buildfarm.oci.registry import Registry
from buildfarm.releases.labels import LIFECYCLE_LABEL
from workers.sandbox.nested import parse_json

_SBOM_BYTES_MAX = 16 * 1024 * 1024  # of the layer; it is compressed JSON


@dataclass(frozen=True)
class PreviousImage:
    """Nothing, if there is no image or other tools made it."""

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # buildpack to layer to what is said of it
    layers: Mapping[tuple[str, str], Layer] = field(default_factory=dict)  # buildpack and layer to where its files are
    sbom: bytes = b""  # the layer with its bills of materials, as the registry has it


def read_previous(registry: Registry, request: BuildRequest) -> PreviousImage:
    """Nothing for a clean build. Raises RegistryError if the registry cannot be asked."""
    if request.clean:
        return PreviousImage()
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
    return PreviousImage(records, layers, _sbom(registry, request.repository, blobs, told) if records else b"")


def _sbom(registry: Registry, repository: str, blobs: Mapping[Digest, Descriptor], told: Mapping[str, Any]) -> bytes:
    """The layer that the label names; nothing if there is none, as in images of older farms."""
    try:
        blob = blobs[Digest(told["sbom"]["sha"])]
        if blob.size > _SBOM_BYTES_MAX:
            return b""
        return registry.read_blob(repository, blob.digest, limit_bytes=blob.size)
    except (KeyError, TypeError, ValueError, NotInRegistryError):
        return b""
