"""The builder image, on which every app's image stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from buildfarm.model import Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig, Manifest
from buildfarm.releases.base import Base
from buildfarm.releases.builder import PLATFORM_LABEL


@dataclass(frozen=True)
class Builder:
    """The builder image, as the registry describes it."""

    image: str  # the reference that the node's engine knows it by
    repository: str
    digest: Digest
    manifest: Manifest
    config: bytes

    @property
    def platform(self) -> str:
        """The contract between it and the node, as its label says."""
        labels: dict[str, str] = ImageConfig.parse(self.config).runtime.get("Labels") or {}
        return labels.get(PLATFORM_LABEL, "")

    @cached_property
    def base(self) -> Base:
        """What apps' images are put on."""
        return Base(self.repository, self.digest, self.manifest, self.config)

    def layers(self) -> tuple[Layer, ...]:
        """Its layers from the bottom up; none of them moves when an app is exported."""
        diff_ids = ImageConfig.parse(self.config).diff_ids
        return tuple(
            Layer(digest=layer.digest, diff_id=diff_id, size_bytes=layer.size, origin="builder", reused=True)
            for layer, diff_id in zip(self.manifest.layers, diff_ids, strict=True)
        )


@dataclass
class Builders:
    """The builder that this node's next build gets; another one takes its place when the engine has it."""

    current: Builder
