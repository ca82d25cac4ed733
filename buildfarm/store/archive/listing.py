"""A page of builds out of several sources, each of which is read only when the page comes to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from buildfarm.errors import RegistryError
from buildfarm.model import Build, State
from buildfarm.store.archive.pack import Position


@dataclass(frozen=True)
class Entry:
    """A build at its position, whose record is read when the page has room for it: None if it cannot be read."""

    position: Position
    state: str
    load: Callable[[], Build | None]


@dataclass(frozen=True)
class Unread:
    """Builds that were submitted at ``last`` or earlier: ``read`` gives some of them, and what remains."""

    last: float
    read: Callable[[], tuple[list[Entry], Unread | None]]
    pack: str = ""  # what it is, in words, if reading it takes a request to the registry


@dataclass
class Listing:
    """One page below a position. A build comes only when nothing unread can hold a newer one."""

    unread: Sequence[Unread]
    after: str
    packs_max: int
    lost: list[str] = field(default_factory=list)

    def page(self, limit: int, states: Collection[State]) -> tuple[list[Build], str | None]:
        """The page, and where the next one begins: None at the end."""
        below = _position(self.after)
        unread = sorted(self.unread, key=lambda source: source.last)
        ready: list[Entry] = []
        found: list[Build] = []
        seen: set[str] = set()
        packs, last = 0, ""
        while ready or unread:
            if not unread or (ready and ready[-1].position[0] > unread[-1].last):
                entry = ready.pop()
                last = f"{entry.position[0]:.6f}:{entry.position[1]}"
                # While packs are joined a build may be in two of them for a moment, or in Redis too.
                if entry.position[1] not in seen and (not states or entry.state in states) and (build := entry.load()):
                    found.append(build)
                seen.add(entry.position[1])
                if len(found) == limit:
                    return found, last if ready or unread else None
                continue
            if unread[-1].pack:
                if packs >= self.packs_max and last:
                    return found, last
                packs += 1
            ready += self._read(unread, below)
            ready.sort(key=lambda entry: entry.position)
        return found, None

    def _read(self, unread: list[Unread], below: Position | None) -> list[Entry]:
        source = unread.pop()
        try:
            entries, rest = source.read()
        except RegistryError as error:
            if not source.pack:
                raise
            self.lost.append(f"{source.pack}, cannot be shown: {error.message}")
            return []
        if rest is not None:
            unread.append(rest)
            unread.sort(key=lambda other: other.last)
        return [entry for entry in entries if below is None or entry.position < below]


def _position(text: str) -> Position | None:
    at, _, build_id = text.partition(":")
    return (float(at), build_id) if text else None
