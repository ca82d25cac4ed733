"""Pre-warming: the builder is on the node's engine before the node takes its first build."""

from __future__ import annotations

import docker
from docker.errors import ImageNotFound

from buildfarm.errors import NodeError, RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry
from workers.builder import Builder
from workers.engine import engine_failures


def prewarm(client: docker.DockerClient, registry: Registry, builder: str) -> Builder:
    """The builder ``repository@digest`` of the registry, pulled where the engine lacks it.

    Raises NodeError and RegistryError.
    """
    repository, _, digest = builder.partition("@")
    if not digest:
        raise NodeError(
            "BUILDFARM_BUILDER does not name a builder image.",
            advice="Set it to repository@sha256:… of an image in the farm's registry, or run `buildfarm up`.",
        )
    media_type, content, found = registry.get_manifest(repository, Digest(digest))
    manifest = Manifest.parse(content, media_type)
    image = f"{registry.host}/{repository}@{digest}"
    with engine_failures("find or pull the builder image"):
        try:
            client.images.get(image)
        except ImageNotFound:
            _pull(client, image)
    return Builder(image, repository, found, manifest, registry.read_blob(repository, manifest.config.digest))


def _pull(client: docker.DockerClient, image: str) -> None:
    for step in client.api.pull(image, stream=True, decode=True):
        if "error" in step:
            raise RegistryError(f"The node's Docker engine could not pull the builder {image}: {step['error']}")
