"""The sizes that a node takes builds of, decided before each pop by the builds that Celery has for this node."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from celery.worker import state

from buildfarm.queue.names import TASK, queue_of, size_of_queue
from buildfarm.settings import Settings
from workers.attempt.capacity import Capacity, Turns


def requests_here() -> set[Any]:
    """The requests that Celery has for this node and that have not ended; it counts slots by them, too."""
    while True:
        try:
            # After a lost connection, those that were just about to begin are among the active ones only.
            return {*state.reserved_requests, *state.active_requests}
        except RuntimeError:
            continue  # one ended meanwhile


_LACKED_SECONDS = 60.0  # after a build whose base is not here; other nodes try it meanwhile


@dataclass
class NodeSizes:
    """Sizes as the consumer asks for them. Those ``waiting`` had queued builds at the newest heartbeat."""

    capacity: Capacity
    waiting: frozenset[str] = frozenset()
    requests: Callable[[], Iterable[Any]] = requests_here
    clock: Callable[[], float] = time.monotonic
    _turns: Turns = field(init=False)
    _lacked: dict[str, float] = field(default_factory=dict)  # until when no room is made for builds of a size
    _begun: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        self._turns = Turns(self.capacity)

    @classmethod
    def of(cls, settings: Settings, machine_bytes: int) -> NodeSizes:
        """Those of this node. Raises SetupError if it cannot serve what it is to serve."""
        capacity = Capacity.of(settings)
        capacity.check(machine_bytes)
        return cls(capacity)

    @property
    def for_pops(self) -> NodeSizes | None:
        """What decides which queues are asked: nothing on a node whose slots alone bound its builds."""
        return self if self.capacity.is_shared else None

    def running(self) -> Counter[str]:
        """How many builds of each size the node has."""
        builds = (request for request in self.requests() if request.name == TASK)
        return Counter(size_of_queue(queue_of(request.delivery_info)) for request in builds)

    def room(self) -> tuple[str, ...] | None:
        """The sizes of which it would take a build now, for its heartbeat; None: its slots decide."""
        if not self.capacity.is_shared:
            return None
        with self._lock:
            seen = self._turns.seen(self.running(), self._waiting(), self.clock())
        return tuple(name for name in self.capacity.sizes if name in seen)

    def fitting(self) -> Collection[str]:
        """The sizes of which a build may come now."""
        with self._lock:
            return self._turns.fitting(self.running(), self._waiting(), self.clock())

    def took(self, size: str) -> None:
        """A build of this size comes; its request is not among those of the node yet."""
        with self._lock:
            self._turns.took(size, self.running(), self._waiting())

    def lacked(self, size: str) -> None:
        """A build of this size came whose base the node does not have: it makes no room for another one so soon."""
        with self._lock:
            self._lacked[size] = self.clock() + _LACKED_SECONDS

    @contextmanager
    def begun(self, size: str) -> Iterator[bool]:
        """A build of this size runs for the length of the block: False if it has no room, whatever let it through."""
        with self._lock:
            fits = not self.capacity.is_shared or self.capacity.fits(size, self._begun)
            self._begun[size] += fits
        try:
            yield fits
        finally:
            with self._lock:
                self._begun[size] -= fits

    def _waiting(self) -> frozenset[str]:
        now = self.clock()
        return frozenset(size for size in self.waiting if self._lacked.get(size, now) <= now)
