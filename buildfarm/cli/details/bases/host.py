"""Keeps the announced bases on a host that runs apps, and reports which it has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from buildfarm.cli.details.bases.image_engine import ImageEngine
from buildfarm.errors import NodeError
from buildfarm.releases.rollouts.views import AnnouncedBase


class Announcing(Protocol):
    """What of the farm is needed."""

    def announced_bases(self) -> list[AnnouncedBase]:
        """The bases that hosts should have."""

    def report_host(self, host: str, bases: Collection[str]) -> list[AnnouncedBase]:
        """Takes which of them a host has."""


@dataclass(frozen=True)
class Look:
    """What one look at the farm's list has found and done, by repository@digest."""

    ready: tuple[str, ...]
    pulled: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # a sentence each
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """One host."""

    name: str
    engine: ImageEngine
    registry: str = ""  # as this host reaches it; empty: as the farm does
    removes: bool = False

    def look(self, farm: Announcing) -> Look:
        """Pulls what is missing, and reports after each pull.

        Raises NodeError if the engine cannot be reached, and what the farm raises.
        """
        wanted = {one.base: self._image(one) for one in farm.announced_bases()}
        ready = [base for base, image in wanted.items() if self.engine.has(image)]
        farm.report_host(self.name, ready)
        pulled: list[str] = []
        failed: list[str] = []
        for base in [base for base in wanted if base not in ready]:
            try:
                self.engine.pull(wanted[base])
            except NodeError as error:
                failed.append(f"{base}: {error.message}")
            else:
                pulled.append(base)
            farm.report_host(self.name, [*ready, *pulled])
        removed = self._remove_others(wanted.values()) if self.removes else []
        return Look((*ready, *pulled), tuple(pulled), tuple(failed), tuple(removed))

    def _remove_others(self, wanted: Collection[str]) -> list[str]:
        """Only in the repositories of announced bases: nothing else on the host is the farm's to remove."""
        repositories = sorted({image.partition("@")[0] for image in wanted})
        found = {image for repository in repositories for image in self.engine.named(repository)}
        others = sorted(image for image in found - {*wanted} if "@sha256:" in image)
        return [image.partition("/")[2] for image in others if self.engine.remove(image)]

    def _image(self, one: AnnouncedBase) -> str:
        return f"{self.registry}/{one.base}" if self.registry else one.image
