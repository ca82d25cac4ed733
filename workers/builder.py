"""Builder images, on which apps' images stand, and those that a node has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from buildfarm.model import Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import ImageConfig, Manifest
from buildfarm.releases.base import STABLE, Base
from buildfarm.releases.builder import PLATFORM_LABEL

STACK = "trixie"  # of a builder that does not say


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

    @property
    def reference(self) -> str:
        """Repository and digest, as channels name it."""
        return f"{self.repository}@{self.digest}"

    @property
    def stack(self) -> str:
        """What it calls itself, in its environment."""
        return dict(line.partition("=")[::2] for line in self.base.variables).get("STACK", STACK)

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


@dataclass(frozen=True)
class Held:
    """The builders that this node's next builds get: one for each channel, and those that rollouts chose for apps."""

    channels: Mapping[str, Builder]  # always with the channel stable
    chosen: tuple[Builder, ...] = ()

    def by_reference(self) -> dict[str, Builder]:
        """All of them, each once."""
        return {builder.reference: builder for builder in (*self.channels.values(), *self.chosen)}

    def told(self) -> str:
        """The same for a claim, as `buildfarm/store/scripts/claim.lua` reads it."""
        channels = {name: builder.reference for name, builder in self.channels.items()}
        return json.dumps({"channels": channels, "has": dict.fromkeys(self.by_reference(), 1)})


class Builders:
    """The builders of a node, each ready on its engine. Others take their places while builds run."""

    def __init__(self, current: Builder) -> None:
        self._held = Held({STABLE: current})
        self._known: dict[str, Builder] = {}

    @property
    def held(self) -> Held:
        """Those for the next builds."""
        return self._held

    @property
    def current(self) -> Builder:
        """The one of the channel stable."""
        return self._held.channels[STABLE]

    def hold(self, held: Held) -> None:
        """Change them. A build that was claimed for one of the others still gets it."""
        self._known |= self._held.by_reference() | held.by_reference()
        self._held = held

    def of(self, base: str) -> Builder:
        """The builder of a base, a repository@digest that was held at the claim; without one, stable's."""
        return {**self._known, **self._held.by_reference()}[base] if base else self.current
