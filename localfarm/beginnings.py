"""The images that other images are made from, sent to the local registry."""

from __future__ import annotations

from collections.abc import Callable

import docker

from buildfarm.model import IMAGES
from buildfarm.oci.registry import Registry
from buildfarm.recipes.recipe import BASE, IMAGER, IMAGER_VERSION
from buildfarm.releases.base import STABLE
from localfarm import images
from workers.image_builds.from_engine import push_image

Say = Callable[[str], None]


def send_beginnings(client: docker.DockerClient, registry: Registry, debian: str, imager: str, say: Say) -> None:
    """What the farm's own image builds begin with is in the registry, under the tags that nodes look for."""
    ensure_sent(client, registry, debian, f"{IMAGES}/{BASE}", say, tag=images.SUITE)
    ensure_sent(client, registry, imager, f"{IMAGES}/{IMAGER}", say, tag=IMAGER_VERSION)


def ensure_sent(
    client: docker.DockerClient, registry: Registry, image: str, repository: str, say: Say, *, tag: str = ""
) -> str:
    """The engine's image is in the registry; its repository@digest. Raises NodeError and RegistryError.

    Its tag there is the engine's id of it. What is new gets ``tag`` beside it: a farm that has since built that one
    anew keeps its own.
    """
    own = str(client.images.get(image).id).removeprefix("sha256:")[:12]
    new = not registry.has_manifest(repository, own)
    if new:
        say(f"{repository}: sending it to the registry")
        push_image(client, image, registry, repository, own)
    media_type, manifest, digest = registry.get_manifest(repository, own)
    if tag and (new or not registry.has_manifest(repository, tag)):
        registry.put_manifest(repository, manifest, media_type, tag=tag)
    return f"{repository}@{digest}"


def ensure_channel(registry: Registry, builder: str, promoted: Callable[[], str], *, new: bool) -> None:
    """The tag by which images name their base is there, and follows a builder that is new. Raises RegistryError.

    A farm of an older version has no such tag: there it points to what was promoted.
    """
    repository, _, digest = builder.partition("@")
    if not new and registry.has_manifest(repository, STABLE):
        return
    place, _, other = ("" if new else promoted()).partition("@")
    wanted = other if place == repository and registry.has_manifest(place, other) else digest
    registry.move_tag(repository, STABLE, lambda: wanted)
