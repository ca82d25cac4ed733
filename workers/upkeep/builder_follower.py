"""Keeps the builders on a node those that its next builds may stand on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError
from buildfarm.releases.base import STABLE
from buildfarm.telemetry import Logger
from workers.builder import Builder, Builders, Held

_AGAIN_SECONDS = 10.0
_LOOK_SECONDS = 5.0  # between two looks at what rollouts have chosen


@dataclass
class Follower:
    """Pulls beside the builds, and changes over when the engine has it.

    Stable's builder waits for no other; the others are pulled one at a time, and not while the disk lacks room. A
    channel's earlier builder stays in use until then. One that is no longer named stays on the engine until the disk
    needs room.
    """

    builders: Builders
    warm: Callable[[str], Builder]
    logger: Logger
    moved: Callable[[], Collection[str]] = frozenset  # bases that rollouts have chosen for apps; asked if there are any
    has_room: Callable[[], bool] = lambda: True
    missing: tuple[str, ...] = ()  # that are wanted, and not ready here
    _channels: Mapping[str, str] = field(default_factory=dict)
    _chosen: tuple[str, ...] = ()
    _looked_at: float = float("-inf")
    _not_before: dict[str, float] = field(default_factory=dict)
    _pulled: dict[str, Builder] = field(default_factory=dict)
    _told: bool = False
    _pulling: set[str] = field(default_factory=set)
    _threads: dict[bool, threading.Thread] = field(default_factory=dict)  # that of stable's builder, and of all others
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, channels: Mapping[str, str], moved: int = 0) -> None:
        """Called with the bases of channels, and how many apps a rollout has moved. Pulls nothing itself.

        Raises StoreError.
        """
        self._channels = {name: base for name, base in channels.items() if base}
        if not moved:
            self._chosen = ()
        elif time.monotonic() >= self._looked_at + _LOOK_SECONDS:
            self._chosen = tuple(sorted(self.moved()))
            self._looked_at = time.monotonic()
        self._told = True
        self._adopt()
        self._start()

    def named(self) -> frozenset[str]:
        """The bases that are ready here or wanted, as repository@digest: no clean-up removes them.

        Empty until the node knows which are wanted; then no clean-up removes any.
        """
        if not self._told:
            return frozenset()
        return frozenset({*self.builders.held.by_reference(), *self._channels.values(), *self._chosen})

    def _adopt(self) -> None:
        """What is ready is used, and what nothing names is not."""
        with self._lock:
            held = self.builders.held
            ready = {**self._pulled, **held.by_reference()}
            channels = {STABLE: self.builders.current}
            for name, base in self._channels.items():
                if found := ready.get(base) or held.channels.get(name):
                    channels[name] = found
            chosen = tuple(ready[base] for base in self._chosen if base in ready)
            new = Held(channels, chosen)
            if new != held:
                self.builders.hold(new)
            self._pulled.clear()
            wanted = (self._channels.get(STABLE, ""), *self._channels.values(), *self._chosen)
            self.missing = tuple(base for base in dict.fromkeys(wanted) if base and base not in new.by_reference())

    def _start(self) -> None:
        now, room = time.monotonic(), self.has_room()
        for base in self.missing:
            is_stable = base == self._channels.get(STABLE)
            running = self._threads.get(is_stable)
            if base in self._pulling or (running and running.is_alive()):
                continue
            if now >= self._not_before.get(base, 0.0) and (room or is_stable):
                thread = threading.Thread(target=self._pull, args=(base,), name="prewarm", daemon=True)
                self._threads[is_stable] = thread
                self._pulling.add(base)
                thread.start()

    def _pull(self, base: str) -> None:
        try:
            builder = self.warm(base)
        except BuildfarmError as error:
            self.logger.warning("builder_not_pulled", builder=base, reason=error.message)
            self._not_before[base] = time.monotonic() + _AGAIN_SECONDS
        else:
            with self._lock:
                self._pulled[base] = builder
            self._adopt()
            self.logger.info("prewarmed", builder=base)
        finally:
            self._pulling.discard(base)
