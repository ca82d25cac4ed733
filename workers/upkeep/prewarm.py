"""Pre-warming: the builder is on the node's engine before the node takes its first build, and each later one soon."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import docker

from buildfarm.errors import BuildfarmError, NodeError, RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.telemetry import Logger
from workers.builder import Builder, Builders
from workers.engine import has_image, pull
from workers.sandbox.network_rules import NetworkRules
from workers.sandbox.pool import SandboxPool


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


@dataclass(frozen=True)
class Repair:
    """Brings back what was removed from the engine beside the farm, such as by ``docker system prune --all``."""

    client: docker.DockerClient
    registry: Registry
    rules: NetworkRules
    logger: Logger
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def restore(self, image: str) -> None:
        """The network with its rules, and this image of the registry. Raises NodeError and RegistryError."""
        self.rules.keep()
        self._restore(image)

    def look(self, builders: Builders, pool: SandboxPool) -> None:
        """The same for every builder that the next builds may get, and sandboxes that wait. NodeError, RegistryError.

        A network that was removed is seen by the job that keeps its rules.
        """
        pool.remove_ended()
        failures = list[BuildfarmError]()
        for builder in builders.held.by_reference().values():
            try:
                self._restore(builder.image)
            except (NodeError, RegistryError) as error:  # the other builders may be there
                failures.append(error)
        if failures:
            raise failures[0]

    def _restore(self, image: str) -> None:
        if has_image(self.client, image):
            return
        # One at a time: an engine with containerd's image store unpacks an image for each pull of it.
        with self._lock:
            if not has_image(self.client, image):
                pull(self.client, self.registry, image.removeprefix(f"{self.registry.host}/"))
                self.logger.warning("image_pulled_again", image=image, reason="it was removed from the engine")
