"""Which image may become the farm's builder."""

from __future__ import annotations

from collections.abc import Callable

from buildfarm.errors import RequestError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig
from buildfarm.oci.registry import Registry
from buildfarm.releases.base import STABLE
from buildfarm.releases.document import RELEASE_ANNOTATION

PLATFORM_LABEL = "buildfarm.platform"  # every builder has it; its value is the contract between builder and node
RELEASE_APART = "1"  # bin/release is a separate step; from "2" on, the last compile can do both
PLATFORM = "2"
_APPS = "apps/"  # their images have their builder's labels
PLATFORMS = frozenset({RELEASE_APART, PLATFORM})


def check_builder(registry: Registry, reference: str) -> str:
    """``repository:tag`` or ``repository@digest`` of the registry as repository@digest.

    Raises RequestError if it is not there or no builder for these nodes, and RegistryError.
    """
    repository, wanted = _parts(reference)
    try:
        manifest, digest = registry.read_manifest(repository, wanted)
        config = ImageConfig.parse(registry.read_blob(repository, manifest.config.digest))
    except NotInRegistryError as error:
        raise RequestError(
            f"The registry {registry.host} has no image {reference[:200]}.", advice="Push it there first."
        ) from error
    except ValueError as error:
        raise RequestError(f"{reference[:200]} is not an image: {error}.") from error
    if repository.startswith(_APPS) or RELEASE_ANNOTATION in manifest.annotations:
        raise RequestError(
            f"{reference[:200]} is an app's image, not a builder.",
            advice="buildfarm apps show prints the builder that it stands on.",
        )
    platform = (config.runtime.get("Labels") or {}).get(PLATFORM_LABEL)
    if platform not in PLATFORMS:
        raise RequestError(
            f"{reference[:200]} is not a builder: its label {PLATFORM_LABEL} is {platform or 'not set'}.",
            advice=f"A builder is made from images/builder, and has {PLATFORM_LABEL}={PLATFORM}.",
        )
    return f"{repository}@{digest}"


def move_channel(registry: Registry, promoted: str, recorded: Callable[[], str], *, tag: str = STABLE) -> None:
    """Points the tag by which images name their base at the channel's newest builder in the repository of this one.

    ``recorded`` is what the record says: of two changes at once, it decides. Raises RegistryError.
    """
    repository, _, digest = promoted.partition("@")

    def wanted() -> str:
        place, _, newest = recorded().partition("@")
        return newest if place == repository else digest

    registry.move_tag(repository, tag, wanted)


def _parts(reference: str) -> tuple[str, str]:
    repository, at, digest = reference.partition("@")
    if at:
        try:
            return repository, Digest(digest)
        except ValueError as error:
            raise RequestError(f"{digest[:100]!r} is not a digest.", advice="Write it as sha256:…") from error
    repository, colon, tag = reference.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (reference, "latest")
