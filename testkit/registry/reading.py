"""What the farm's registry says of the builder."""

from __future__ import annotations

from buildfarm.farm import Farm
from buildfarm.oci.manifest import Manifest
from workers.builder import Builder


def read_manifest(farm: Farm, repository: str, digest: str) -> Manifest:
    """An image's manifest."""
    media_type, content, _ = farm.registry.get_manifest(repository, digest)
    return Manifest.parse(content, media_type)


def read_builder(farm: Farm) -> Builder:
    """The farm's builder, as a node knows it."""
    repository, _, digest = farm.builder().partition("@")
    media_type, content, found = farm.registry.get_manifest(repository, digest)
    manifest = Manifest.parse(content, media_type)
    config = farm.registry.read_blob(repository, manifest.config.digest)
    return Builder(f"{farm.registry.host}/{farm.builder()}", repository, found, manifest, config)
