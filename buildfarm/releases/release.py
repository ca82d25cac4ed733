"""A release: an app's image without its base. Pure.

One release makes an image on every base that its layers can stand on. It does not name any of these images, nor their
bases: each image names its release, in the annotation `RELEASE_ANNOTATION` of its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from buildfarm.oci.digest import Digest
from buildfarm.oci.env import EnvChange
from buildfarm.oci.manifest import Descriptor, Kind
from buildfarm.releases.base import STABLE


@dataclass(frozen=True)
class OwnLayer:
    """A layer of the app. ``blob`` has its media type, and ``origin`` says in the image's history what it is."""

    blob: Descriptor
    diff_id: Digest
    origin: str


@dataclass(frozen=True)
class Runtime:
    """The app's part of the image's runtime config; None is what the base says."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str | None = None
    working_dir: str | None = None
    exposed_ports: tuple[str, ...] = ()  # beside the base's
    env: EnvChange = field(default_factory=EnvChange)
    labels: Mapping[str, str] = field(default_factory=dict)  # over the base's


@dataclass(frozen=True)
class Release:
    """What a build made; ``facts`` are blobs that say what its layers need and contain."""

    layers: tuple[OwnLayer, ...]  # from the bottom up
    runtime: Runtime
    stack: Mapping[str, str]  # see `Base.stack`
    media_types: Kind  # of its images
    registry: str  # the host under which its images name their base
    channel: str = STABLE  # whose base it follows
    facts: tuple[Descriptor, ...] = ()
