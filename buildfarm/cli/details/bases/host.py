"""Keeps the announced bases on a host that runs apps, and reports which it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from buildfarm.cli.details.bases.image_engine import ImageEngine
from buildfarm.errors import NodeError, QueueFullError, RequestError
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


@dataclass
class Host:
    """One host. It keeps the list of its last report, so that a look that finds nothing new is one call."""

    name: str
    engine: ImageEngine
    registry: str = ""  # as this host reaches it; empty: as the farm does
    removes: bool = False
    _announced: dict[str, str] = field(default_factory=dict)  # images by base

    def look(self, farm: Announcing) -> Look:
        """Pulls what is missing, and reports after each pull. Bases are pulled even if a report is refused.

        Raises NodeError if the engine cannot be reached, and what the farm raises if it is the token that is refused.
        """
        failed: dict[str, str] = {}
        wanted = self._announced or self._images(farm.announced_bases())
        ready = self._ready(wanted)
        self._report(farm, ready, failed)
        if self._announced.keys() != wanted.keys():
            wanted = self._announced
            ready = self._ready(wanted)
            self._report(farm, ready, failed)
        pulled: list[str] = []
        for base in [base for base in wanted if base not in ready]:
            try:
                self.engine.pull(wanted[base])
            except NodeError as error:
                failed[base] = f"{base}: {error.message}"
            else:
                pulled.append(base)
            self._report(farm, [*ready, *pulled], failed)
        removed = self._remove_others(wanted.values()) if self.removes else []
        return Look((*ready, *pulled), tuple(pulled), tuple(failed.values()), tuple(removed))

    def _report(self, farm: Announcing, bases: Collection[str], failed: dict[str, str]) -> None:
        try:
            found = farm.report_host(self.name, bases)
        except QueueFullError:
            raise
        except RequestError as error:
            found = farm.announced_bases()  # raises if the token is refused, not only this report
            failed[""] = f"The report is refused: {error.message}"
        self._announced = self._images(found)

    def _ready(self, wanted: Mapping[str, str]) -> list[str]:
        return [base for base, image in wanted.items() if self.engine.has(image)]

    def _images(self, announced: Collection[AnnouncedBase]) -> dict[str, str]:
        return {one.base: f"{self.registry}/{one.base}" if self.registry else one.image for one in announced}

    def _remove_others(self, wanted: Collection[str]) -> list[str]:
        """Only in the repositories of announced bases: nothing else on the host is the farm's to remove."""
        repositories = sorted({image.partition("@")[0] for image in wanted})
        found = {image for repository in repositories for image in self.engine.named(repository)}
        others = sorted(image for image in found - {*wanted} if "@sha256:" in image)
        return [image.partition("/")[2] for image in others if self.engine.remove(image)]
