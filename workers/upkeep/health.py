"""Whether this node is fit for builds, and its heartbeat that says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import docker

from buildfarm import __version__
from buildfarm.errors import BuildfarmError, NodeError
from buildfarm.node import Node, NodeState
from buildfarm.releases.base import STABLE
from buildfarm.settings import Settings
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from buildfarm.telemetry.metrics import Metrics
from workers.attempt.capacity import Capacity, offered_kinds
from workers.attempt.running import RunningAttempts
from workers.engine import engine_failures
from workers.upkeep.builder_follower import Follower
from workers.upkeep.disk import shortage
from workers.upkeep.drain import Drain
from workers.upkeep.rest import Rest

_LOOK_SECONDS_MAX = 120.0  # a look may wait for Redis and for the engine, each with a deadline


class Sizes(Protocol):
    """Builds of several sizes on this node; `workers.queue.sizes` decides which ones come."""

    capacity: Capacity
    waiting: frozenset[str]

    def room(self) -> tuple[str, ...] | None:
        """The sizes of which it has room for one more build; None: its slots decide."""


@dataclass
class Health:
    """The node as it sees itself; ``engine`` is a client whose calls end soon."""

    settings: Settings
    engine: docker.DockerClient
    free_bytes: Callable[[], int]
    attempts: RunningAttempts
    follower: Follower  # keeps the builders here those that builds may stand on
    drain: Drain
    metrics: Metrics
    nodes: Nodes
    sizes: Sizes
    network: Callable[[], str] = lambda: ""  # why the sandboxes' network is not safe; empty if it is
    reason: str = "it is starting"  # why no build may come; empty if one may
    _rest: Rest = field(default_factory=Rest)
    _looked_at: float = field(default_factory=time.monotonic)

    def accepting(self) -> bool:
        """Asked by the gate; answers at once."""
        return not self.obstacle()

    def obstacle(self) -> str:
        """Why no build may come; empty if one may."""
        return self.reason or self.network()

    def alive(self) -> bool:
        """Whether the node's periodic jobs still run: false only if nothing but a restart helps."""
        return time.monotonic() - self._looked_at < _LOOK_SECONDS_MAX

    def rest(self) -> None:
        """The node failed a build that it should not have failed: it takes none for some seconds."""
        self._rest.begin(time.monotonic())
        self.reason = "it failed a build, and is paused"

    def beat(self) -> None:
        """Checks the node, reports to the farm, and does what the farm asks. Raises StoreError."""
        self._looked_at = time.monotonic()
        free_bytes = self.free_bytes()
        self.reason = self._look(free_bytes)
        self.metrics.accepting.set(not self.reason)
        self.metrics.slots.set(self.settings.slots)
        self.metrics.disk(self.settings.workspace_directory)
        if self.attempts.stuck():
            self.drain.ask(restart=True)
        builders = self.follower.builders
        node = Node(
            id=self.settings.node_id,
            version=__version__,
            state=self._state(),
            reason=self.reason,
            slots=self.settings.slots,
            builds=self.attempts.builds(),
            builder=builders.current.digest,
            builders=tuple(builder.digest for builder in builders.held.by_reference().values()),
            disk_free_bytes=free_bytes,
            **self.sizes.capacity.advertised(self.settings, self.sizes.room()),
        )
        orders = self.nodes.beat(node, offered_kinds(node) if self.settings.offer_seconds else "")
        self.sizes.waiting = orders.waiting
        if orders.drain:
            self.drain.ask()
        self.follower.follow({STABLE: orders.builder, **orders.channels}, orders.moved)
        self.metrics.builder_ready.set(not self.follower.missing)
        self.metrics.builders.set(len(builders.held.by_reference()))
        self.metrics.builders_missing.set(len(self.follower.missing))

    def leave(self) -> None:
        """The node is gone in good order."""
        try:
            self.nodes.leave(self.settings.node_id)
        except BuildfarmError as error:
            logger().warning("node_not_removed", reason=error.message)

    def trouble(self) -> str:
        """What is wrong with the node itself; empty if nothing is."""
        if full := shortage(self.free_bytes(), self.settings.disk_free_bytes):
            return full
        try:
            with engine_failures("answer"):
                self.engine.ping()
        except NodeError:
            return "its Docker engine is unreachable"
        return ""

    def _look(self, free_bytes: int) -> str:
        if self.drain.begun:
            return "it is draining"
        if self.attempts.stuck():
            return "a build does not free its slot"
        if trouble := self.trouble() or self.network():
            return trouble
        seconds = self._rest.seconds_left(time.monotonic())
        return f"it failed a build, and is paused for {seconds:.0f} s" if seconds else ""

    def _state(self) -> NodeState:
        if self.drain.begun:
            return NodeState.DRAINING
        return NodeState.CLOSED if self.reason else NodeState.READY
