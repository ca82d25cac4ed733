"""What collections over the API leave in the registry: whose it is, which images ran, and since when what was there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from buildfarm.gc.over_api.artifact import Artifact
from buildfarm.gc.over_api.listing import Listing, Place
from buildfarm.oci.registry import Registry


@dataclass
class Remembered:
    """One artifact, which each collection replaces. Every method raises RegistryError."""

    registry: Registry

    @property
    def root(self) -> str:
        """What a sentence about the registry calls it."""
        return self.registry.host

    def owner(self) -> str:
        """The id of the farm that collects here; empty if none did yet."""
        return str(self._found.get("farm", ""))

    def own(self, farm_id: str) -> None:
        """The farm of this id collects here from the next `remember` on."""
        self._found["farm"] = farm_id

    def memory(self) -> dict[str, Any]:
        """What the newest collection left for the case that Redis is lost; empty if there was none."""
        return dict(self._found.get("memory", {}))

    def seen(self, listing: Listing) -> dict[Place, float]:
        """Since when each listed manifest is known to be there, at the latest."""
        before: Mapping[str, float] = self._found.get("seen", {})
        found = {place: before.get("@".join(place), listing.at) for place in listing.places}
        self.keep(found)
        return found

    def keep(self, seen: Mapping[Place, float], but: Collection[Place] = ()) -> None:
        """Know these times from the next `remember` on, except of the places in ``but``: they are seen anew."""
        self._found["seen"] = {"@".join(place): at for place, at in seen.items() if place not in but}

    def remember(self, memory: Mapping[str, object]) -> None:
        """Replace it all, at once."""
        self._found["memory"] = dict(memory)
        self._artifact.write(self._found)

    @cached_property
    def _found(self) -> dict[str, Any]:
        return self._artifact.read()

    @property
    def _artifact(self) -> Artifact:
        return Artifact(self.registry, "memory")
