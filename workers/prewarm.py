"""Pre-warming: the builder is on the node's engine before the node takes its first build, and each later one soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import docker
from docker.errors import ImageNotFound

from buildfarm.errors import BuildfarmError, NodeError, RegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry
from buildfarm.telemetry import Logger
from workers.builder import Builder, Builders
from workers.engine import engine_failures

_AGAIN_SECONDS = 10.0


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
    media_type, content, found = registry.get_manifest(repository, Digest(digest))
    manifest = Manifest.parse(content, media_type)
    return Builder(image, repository, found, manifest, registry.read_blob(repository, manifest.config.digest))


def pull(client: docker.DockerClient, registry: Registry, named: str) -> str:
    """The engine's name of the image ``repository@digest`` of the registry, pulled where the engine lacks it.

    Raises NodeError and RegistryError.
    """
    image = f"{registry.host}/{named}"
    with engine_failures(f"find or pull {image}"):
        try:
            client.images.get(image)
        except ImageNotFound:
            _pull(client, image, registry.credentials)
    return image


class Follower:
    """Keeps a node's builder the promoted one: pulls beside the builds, and changes over when the engine has it."""

    def __init__(self, builders: Builders, warm: Callable[[str], Builder], logger: Logger) -> None:
        self._builders = builders
        self._warm = warm
        self._logger = logger
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def follow(self, wanted: str) -> None:
        """The promoted builder is this one, as repository@digest, or none. Returns at once."""
        current = self._builders.current
        if not wanted or wanted == f"{current.repository}@{current.digest}":
            return
        busy = self._thread is not None and self._thread.is_alive()
        if busy or time.monotonic() < self._not_before:
            return
        self._thread = threading.Thread(target=self._change, args=(wanted,), name="prewarm", daemon=True)
        self._thread.start()

    def _change(self, wanted: str) -> None:
        try:
            self._builders.current = self._warm(wanted)
        except BuildfarmError as error:
            self._logger.warning("builder_not_pulled", builder=wanted, reason=error.message)
            self._not_before = time.monotonic() + _AGAIN_SECONDS
        else:
            self._logger.info("prewarmed", builder=wanted)


def _pull(client: docker.DockerClient, image: str, credentials: tuple[str, str] | None) -> None:
    auth = dict(zip(("username", "password"), credentials, strict=True)) if credentials else None
    for step in client.api.pull(image, stream=True, decode=True, auth_config=auth):
        if "error" in step:
            raise RegistryError(f"The node's Docker engine could not pull {image}: {step['error']}")
