"""Pre-warming: the builder is on the node's engine before the node takes its first build, and each later one soon."""

from __future__ import annotations

import docker

from buildfarm.errors import NodeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from workers.builder import Builder
from workers.engine import pull


def prewarm(client: docker.DockerClient, registry: Registry, builder: str) -> Builder:
    """The builder ``repository@digest`` of the registry, pulled where the engine lacks it.

    Raises NodeError and RegistryError.
    """
    repository, _, digest = builder.partition("@")
    if not digest:
        raise NodeError(
            "The farm has no builder image.",
            advice="Promote one: buildfarm builder promote REF; or name one in BUILDFARM_BUILDER; or run buildfarm up.",
        )
    image = pull(client, registry, builder)
    manifest, found = registry.read_manifest(repository, Digest(digest))
    return Builder(image, repository, found, manifest, registry.read_blob(repository, manifest.config.digest))
