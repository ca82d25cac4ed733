"""Pause containers: each keeps a network namespace for one sandbox after the other, while nothing was sent in it.

The engine needs about half of a sandbox's processor time for its network (decision 050). A pause container only
sleeps in one; a sandbox joins it (Docker Engine API, HostConfig.NetworkMode "container:ID"). A namespace in which
neither an interface nor IP has ever had anything to send has no flows, neighbours or connections of the build before,
whose sockets ended with its processes. Any other one is removed.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

from buildfarm.errors import NodeError
from buildfarm.telemetry import logger
from workers.engine import engine_failures
from workers.sandbox.container import remove_container
from workers.sandbox.pauses.counters import is_unused
from workers.sandbox.spec import SandboxSpec

_OWN_NETWORKS_MAX = 8  # after some builds in a row that used their networks: later ones, too, are likely to
_AGE_SECONDS_MAX = 3600.0  # its name servers are those of the node when it was made


@dataclass(frozen=True)
class Pause:
    """A container that sleeps; ``process`` is its number on this machine."""

    name: str
    image: str
    container_id: str
    process: int
    made_at: float

    @property
    def network(self) -> str:
        """The network mode of a sandbox that joins it."""
        return f"container:{self.container_id}"


@dataclass
class PauseContainers:
    """Those of one node. Safe to use from several threads."""

    client: docker.DockerClient
    spec: SandboxSpec
    spare_max: int
    proc: Path = Path("/proc")
    clock: Callable[[], float] = time.monotonic
    _spare: list[Pause] = field(default_factory=list)
    _lent: dict[str, Pause] = field(default_factory=dict)  # by network mode
    _names: set[str] = field(default_factory=set)
    _used_in_a_row: int = 0
    _own_networks: float = 0  # so many of the next sandboxes get networks that the engine makes for them
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def lend(self, image: str, *, only_spare: bool = False) -> Iterator[str]:
        """The network mode of a sandbox of this image, which must be gone before the block ends; empty: its own.

        With ``only_spare`` no pause container is made for it. Raises NodeError if one cannot be removed.
        """
        pause = self._take(image, only_spare=only_spare)
        if pause is None:
            yield ""
            return
        with self._lock:
            self._lent[pause.network] = pause
        gone = False
        try:
            yield pause.network
            gone = True
        finally:
            with self._lock:
                del self._lent[pause.network]
            self._learn(pause)
            if not (gone and self._keep(pause)):
                self._remove(pause)

    def works(self, network: str) -> bool:
        """Whether a sandbox in which nothing ran yet has a network; always true of one without a pause container."""
        with self._lock:
            pause = self._lent.get(network)
        return not network or (pause is not None and self._is_unused(pause))

    def has_spare(self, image: str) -> bool:
        """Whether the next sandbox of this image gets a network that is there."""
        with self._lock:
            return any(pause.image == image for pause in self._spare)

    def names(self) -> Set[str]:
        """Names of all that are there or are being made."""
        with self._lock:
            return set(self._names)

    def prepare(self, image: str, most: int) -> None:
        """Makes one for the next sandbox of this image, unless ``most`` of them wait already.

        Raises NodeError if an old one cannot be removed.
        """
        with self._lock:
            old = next((pause for pause in self._spare if not self._is_young(pause)), None)
            if old is not None:
                self._spare.remove(old)
            count = sum(pause.image == image for pause in self._spare)
            wanted = count < most and len(self._spare) < self.spare_max and not self._own_networks
        if old is not None:
            self._remove(old)
        pause = self._made(image) if wanted else None
        if pause is not None and not self._keep(pause):  # meanwhile another came back, or the node ends
            self._remove(pause)

    def leave_only(self, images: Set[str]) -> None:
        """Removes spare ones of other images. Raises NodeError."""
        while True:
            with self._lock:
                other = next((pause for pause in self._spare if pause.image not in images), None)
                if other is None:
                    return
                self._spare.remove(other)
            self._remove(other)

    def close(self) -> None:
        """Removes spare ones, and keeps none from now on. Raises NodeError."""
        self.spare_max = 0
        self.leave_only(set())

    def _take(self, image: str, *, only_spare: bool) -> Pause | None:
        with self._lock:
            spare = next((pause for pause in self._spare if pause.image == image), None)
            if spare is not None:
                self._spare.remove(spare)
            elif only_spare:
                return None
            elif self._own_networks:
                self._own_networks -= 1
                return None
        if spare is not None:
            if self._is_unused(spare) and self._is_young(spare):
                return spare
            self._remove(spare)  # the engine may have lost it
            return None
        return self._made(image)

    def _made(self, image: str) -> Pause | None:
        try:
            return self._make(image)
        except NodeError as error:
            logger().warning("pause_container_not_made", reason=error.message)
            return None

    def _make(self, image: str) -> Pause | None:
        """None if this node cannot see what is sent in it, or the engine sends something of itself."""
        name, container_id = f"buildfarm-pause-{secrets.token_hex(4)}", ""
        with self._lock:
            self._names.add(name)
        try:
            with engine_failures("make a pause container"):
                container_id = str(self.client.containers.create(image, **self.spec.pause_options(name)).id)
                self.client.api.start(container_id)
                state = self.client.api.inspect_container(container_id)["State"]
            pause = Pause(name, image, container_id, int(state["Pid"]), self.clock())
            if self._is_unused(pause):
                return pause
            with engine_failures("inspect a pause container"):
                runs = self.client.api.inspect_container(container_id)["State"]["Running"]
        except BaseException:
            with suppress(NodeError):
                self._remove(Pause(name, image, container_id, 0, 0.0))
            raise
        self._remove(pause)
        with self._lock:
            self._own_networks = math.inf if runs else _OWN_NETWORKS_MAX
        logger().info(
            "networks_not_reused", reason="their counters cannot be read" if runs else "a pause container ended"
        )
        return None

    def _keep(self, pause: Pause) -> bool:
        """Whether it is a spare one now."""
        unused = self._is_unused(pause)
        with self._lock:
            keeps = unused and self._is_young(pause) and len(self._spare) < self.spare_max
            if keeps:
                self._spare.append(pause)
        return keeps

    def _learn(self, pause: Pause) -> None:
        """From whether a sandbox used its network: the next ones may, too, and the more so the more did in a row."""
        unused = self._is_unused(pause)
        with self._lock:
            self._used_in_a_row = 0 if unused else self._used_in_a_row + 1
            if not unused:
                own = min(2 ** (self._used_in_a_row - 1), _OWN_NETWORKS_MAX)
                self._own_networks = max(self._own_networks, own)

    def _is_young(self, pause: Pause) -> bool:
        return self.clock() - pause.made_at < _AGE_SECONDS_MAX

    def _is_unused(self, pause: Pause) -> bool:
        return is_unused(self.proc / str(pause.process), pause.container_id)

    def _remove(self, pause: Pause) -> None:
        try:
            if pause.container_id:
                remove_container(self.client, pause.container_id)
        finally:
            with self._lock:
                self._names.discard(pause.name)  # the janitor removes what is left
