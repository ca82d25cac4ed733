"""What is known of packs that a registry has, and which of them are to be listed. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.store.archive.pack import Position, Row
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.records import digests_of


@dataclass(frozen=True)
class Held:
    """A pack that the registry has, and of what is in it no more than is needed: there may be very many."""

    place: str  # tenant/app
    pack: Shelved
    builds: Sequence[Position]
    sources: Mapping[str, str]  # of their images

    @classmethod
    def of(cls, pack: Shelved, rows: Sequence[Row]) -> Held:
        """What is kept of a pack that was read."""
        named = [digests_of(row.record) for row in rows]
        sources = {image: source for images, source in named if source for image in images}
        return cls(owner_of(rows[0].record), pack, [row.position for row in rows], sources)

    @property
    def ids(self) -> set[str]:
        """Its builds."""
        return {build_id for _, build_id in self.builds}


@dataclass(frozen=True)
class Lost:
    """A pack that Redis knew and the registry no longer has."""

    place: str  # tenant/app
    builds: int
    first: float  # when its builds were submitted
    last: float


@dataclass
class Rebuilt:
    """What the archive has now; ``sources`` are those of its images."""

    packs: int = 0
    builds: int = 0
    found: int = 0  # builds of packs that Redis did not know
    lost: list[Lost] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # a sentence for each pack that is left out
    sources: dict[str, str] = field(default_factory=dict)
    without_image: list[str] = field(default_factory=list)  # targets whose newest image the registry has lost
    tags: list[str] = field(default_factory=list)  # targets whose newest image was taken over from the registry
    unread: list[str] = field(default_factory=list)  # a sentence for each tag that could not be read; its app stays
    paused: list[str] = field(default_factory=list)  # rollouts that now wait for a person

    def name(self, error: RegistryError) -> None:
        """A pack is damaged."""
        if error.message not in self.damaged:
            self.damaged.append(error.message)


def needed(held: Sequence[Held]) -> tuple[list[Held], list[Held]]:
    """The packs that have a build which no larger one has, and the others."""
    kept: list[Held] = []
    taken_in: list[Held] = []
    seen: set[str] = set()
    for one in sorted(held, key=lambda one: (one.pack.builds, one.pack.last), reverse=True):
        (taken_in if one.ids <= seen else kept).append(one)
        seen |= one.ids
    return kept, taken_in


def owner_of(record: Mapping[str, str]) -> str:
    """The tenant/app of a record; empty if it names none."""
    return "/".join(record.get("place", "").split(" ")[:2])
