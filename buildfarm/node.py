"""A build node as others see it: its heartbeat."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from buildfarm.fields import Frozen


class NodeState(StrEnum):
    """Whether a build node takes builds."""

    READY = "ready"  # it takes builds
    CLOSED = "closed"  # it takes none for now; its reason says why, and it opens again by itself
    DRAINING = "draining"  # it takes no more builds, ends those it has, and leaves
    GONE = "gone"  # it gave no sign of life for a while; its builds run elsewhere


class Node(Frozen):
    """A build node's heartbeat."""

    id: str
    version: str = ""  # of the farm's code on it
    state: NodeState
    reason: str = ""  # why it takes no builds
    slots: int
    builds: tuple[str, ...] = ()  # ids of those that run on it
    builder: str = ""  # digest of the builder that its next build gets, if its app follows the channel stable
    builders: tuple[str, ...] = ()  # digests of all that it has for builds; an older version does not say
    disk_free_bytes: int = 0
    classes: tuple[
        str, ...
    ] = ()  # kinds of builds that it takes (`buildfarm.queue.names`); an older version does not say
    sizes: dict[str, int] = Field(
        default_factory=dict
    )  # that it serves, and how many builds of each at once if no others
    memory_bytes: int = 0  # of all of its sandboxes together, and their processors; an older version does not say
    cpus: float = 0.0
    room: tuple[str, ...] | None = None  # sizes of which it takes one more build now; None: its slots decide
    seen_at: float = 0.0  # by the store's clock

    @property
    def serves(self) -> tuple[str, ...]:
        """The sizes of builds that it takes."""
        return tuple(self.sizes) or ("standard",)

    @property
    def accepting(self) -> bool:
        """Whether it takes builds."""
        return self.state is NodeState.READY

    def has(self, base: str) -> bool:
        """Whether it has this base, a repository@digest, for builds."""
        return bool(base) and base.rpartition("@")[2] in (self.builder, *self.builders)

    def has_room(self, size: str) -> bool:
        """Whether it takes one more build of this size now."""
        return self.free > 0 and (self.room is None or size in self.room)

    @property
    def busy(self) -> int:
        """How many of its slots are in use."""
        return len(self.builds)

    @property
    def free(self) -> int:
        """How many more builds it takes."""
        return self.slots - self.busy if self.accepting else 0
