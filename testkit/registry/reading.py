"""What the farm's registry says of the builder."""

from __future__ import annotations

from buildfarm.farm import Farm
from buildfarm.oci.manifest import Manifest
from workers.builder import Builder


def read_manifest(farm: Farm, repository: str, digest: str) -> Manifest:
    """An image's manifest."""
    return farm.registry.read_manifest(repository, digest)[0]


def read_builder(farm: Farm) -> Builder:
    """The farm's builder, as a node knows it."""
    repository, _, digest = farm.builder().partition("@")
    manifest, found = farm.registry.read_manifest(repository, digest)
    config = farm.registry.read_blob(repository, manifest.config.digest)
    return Builder(f"{farm.registry.host}/{farm.builder()}", repository, found, manifest, config)
