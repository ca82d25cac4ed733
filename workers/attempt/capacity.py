"""What builds of several sizes take of a node, and which sizes may come next. Pure; decision 037 has the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import SetupError
from buildfarm.node import Node
from buildfarm.queue.names import STANDARD, node_kinds, parts_of
from buildfarm.queue.sizes import Size, memory_text, sizes_of
from buildfarm.settings import Settings

_OPEN_SECONDS = 3.0  # for so long a size that has been given room has it for itself


@dataclass(frozen=True)
class Capacity:
    """What a node advertises: the sizes that it serves, and what their builds have together."""

    sizes: Mapping[str, Size]
    memory_bytes: int
    cpus: float
    slots: int
    is_counted: bool = False  # whether its sandboxes' memory is counted; else slots alone bound it, as they always did

    @classmethod
    def of(cls, settings: Settings) -> Capacity:
        """This node's."""
        sizes = sizes_of(settings)
        memory_bytes = settings.node_memory_bytes or settings.slots * sizes[STANDARD].memory_bytes
        cpus = settings.node_cpus or settings.slots * sizes[STANDARD].cpus
        served = {name: size for name, size in sizes.items() if name in settings.node_sizes}
        is_counted = settings.node_memory_bytes > 0 or set(served) != {STANDARD}
        return cls(served, memory_bytes, cpus, settings.slots, is_counted)

    def check(self, machine_bytes: int) -> None:
        """Raises SetupError for a node that cannot serve what it is to serve."""
        for name, count in self.counts.items():
            if count < 1:
                raise SetupError(
                    f"This node is to serve the size {name}, but has no room for one build of it.",
                    advice="Raise BUILDFARM_NODE_MEMORY_BYTES and BUILDFARM_NODE_CPUS, or change BUILDFARM_NODE_SIZES.",
                )
        if self.is_counted and self.memory_bytes > machine_bytes:
            raise SetupError(
                f"The sandboxes of this node may use {memory_text(self.memory_bytes)} of memory, but the machine has "
                f"{memory_text(machine_bytes)}.",
                advice="Lower BUILDFARM_NODE_MEMORY_BYTES, or BUILDFARM_SLOTS if it is not set.",
            )

    def advertised(self, settings: Settings, room: tuple[str, ...] | None) -> dict[str, Any]:
        """What the node's heartbeat says of it."""
        kinds = tuple(node_kinds(settings))
        return {
            "classes": kinds, "sizes": self.counts, "memory_bytes": self.memory_bytes, "cpus": self.cpus, "room": room
        }  # fmt: skip

    @property
    def counts(self) -> dict[str, int]:
        """How many builds of each size it runs at once if it runs no others."""
        by_memory = {name: self.memory_bytes // size.memory_bytes for name, size in self.sizes.items()}
        return {
            name: min(self.slots, by_memory[name], int(self.cpus / size.cpus + 1e-9))
            for name, size in self.sizes.items()
        }

    @property
    def is_shared(self) -> bool:
        """Whether slots alone do not decide which builds come."""
        return len(self.sizes) > 1 or set(self.counts.values()) != {self.slots}

    def fits(self, size: str, running: Mapping[str, int]) -> bool:
        """Whether there is room for one more build of this size beside those that run."""
        counts = Counter(running)
        counts[size] += 1
        every = [(self.sizes[name], count) for name, count in counts.items() if name in self.sizes]
        return (
            size in self.sizes
            and sum(counts.values()) <= self.slots
            and sum(each.memory_bytes * count for each, count in every) <= self.memory_bytes
            and sum(each.cpus * count for each, count in every) <= self.cpus + 1e-9
        )


def offered_kinds(node: Node) -> str:
    """The kinds of builds that a node takes offers of now, as its heartbeat has them."""
    return " ".join(kind for kind in node.classes if node.room is None or parts_of(kind)[1] in node.room)


@dataclass
class Turns:
    """Which sizes may come: all that fit, unless one was passed over for too long.

    As many builds as the node has slots may begin while another size waits and has no room. Then no others begin until
    a build of that size has, or none came for `_OPEN_SECONDS` in which there was room.
    """

    capacity: Capacity
    _passed: Counter[str] = field(
        default_factory=Counter
    )  # builds of other sizes that began while it waited without room
    _open_since: float | None = None

    def fitting(self, running: Mapping[str, int], waiting: Collection[str], now: float) -> frozenset[str]:
        """The sizes of which a build may come now; ``waiting`` are those of which builds are queued."""
        fits = frozenset(name for name in self.capacity.sizes if self.capacity.fits(name, running))
        for name in fits.difference(waiting):
            del self._passed[name]  # what waited has begun elsewhere
        first = self._first(waiting)
        if not first:
            self._open_since = None
            return fits
        if first not in fits:
            self._open_since = None
            return frozenset()
        self._open_since = now if self._open_since is None else self._open_since
        if now - self._open_since < _OPEN_SECONDS:
            return frozenset({first})
        self._end(first)
        return fits

    def seen(self, running: Mapping[str, int], waiting: Collection[str], now: float) -> frozenset[str]:
        """The same as `fitting`, for who takes no build now: no turn begins or ends by it."""
        return Turns(self.capacity, Counter(self._passed), self._open_since).fitting(running, waiting, now)

    def took(self, size: str, running: Mapping[str, int], waiting: Collection[str]) -> None:
        """A build of this size begins beside those that run."""
        self._end(size)
        then = {**running, size: running.get(size, 0) + 1}
        for name in set(waiting) & set(self.capacity.sizes) - {size}:
            if not self.capacity.fits(name, then):
                self._passed[name] += 1

    def _first(self, waiting: Collection[str]) -> str:
        """The size that has waited for too long, if one has."""
        late = [name for name in waiting if self._passed[name] >= self.capacity.slots]
        return max(late, key=lambda name: (self._passed[name], name), default="")

    def _end(self, size: str) -> None:
        del self._passed[size]
        self._open_since = None
