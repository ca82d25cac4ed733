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
    """Pulls beside the builds, one builder at a time, and changes over when the engine has it.

    A channel's earlier builder stays in use until then. Others than the channel stable's are not pulled while the disk
    lacks room. One that is no longer named stays on the engine until the disk needs room.
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
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, channels: Mapping[str, str], moved: int = 0) -> None:
        """Called with the bases of channels, and how many apps a rollout has moved. Pulls nothing itself.

        Raises StoreError.
        """
        self._channels = {name: base for name, base in channels.items() if base}
        if not moved:
            self._chosen = ()
        elif time.monotonic() >= self._looked_at + _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._chosen = tuple(sorted(self.moved()))
        self._adopt()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def named(self) -> frozenset[str]:
        """The bases that are ready here or wanted, as repository@digest: no clean-up removes them."""
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
            if now >= self._not_before.get(base, 0.0) and (room or base == self._channels.get(STABLE)):
                self._thread = threading.Thread(target=self._pull, args=(base,), name="prewarm", daemon=True)
                self._thread.start()
                return

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
