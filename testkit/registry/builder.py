"""A builder of two tiny layers, in whichever registry."""

from __future__ import annotations

import gzip

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from workers.builder import Builder

REPOSITORY = "builder"
_ARCHIVES = (bytes(1024), bytes(2048))  # without entries


def push_builder(registry: Registry) -> Builder:
    """Pushes it under the tag latest."""
    types = media_types("docker")
    packed = [gzip.compress(archive, mtime=0) for archive in _ARCHIVES]
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(archive) for archive in _ARCHIVES]},
        }
    )
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(REPOSITORY, config), len(config)),
        tuple(Descriptor(types.layers["gzip"], registry.put_blob(REPOSITORY, layer), len(layer)) for layer in packed),
    )
    digest = registry.put_manifest(REPOSITORY, manifest.encode(), types.manifest, tag="latest")
    return Builder("unused", REPOSITORY, digest, manifest, config)
