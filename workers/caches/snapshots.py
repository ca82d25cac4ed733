"""Snapshots: caches that this node has unpacked, read-only, so that a build can begin on one instead of unpacking it.

A snapshot is the content of one archive of a cache and is known by its digest, so it does not matter which build made
it or where. It was unpacked in a sandbox, like every cache, and is frozen in its own file system. It never outlives the
process that made it: what a power failure left is not used.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import NodeError
from buildfarm.oci.digest import Digest
from buildfarm.telemetry import Logger
from workers.sandbox.overlay import Overlay, lay_over
from workers.sandbox.pool import SandboxPool
from workers.sandbox.workspace import Workspace, remove

_MAKE = "/usr/lib/buildfarm/make-snapshot"
_WAITING_MAX = 8


@dataclass(frozen=True)
class Snapshot:
    """An unpacked cache: where it is, whose its files are on this host, and how many bytes of the disk it takes."""

    place: Path
    owner: int
    size_bytes: int


@dataclass(frozen=True)
class Wanted:
    """A cache that is to become a snapshot: the pieces of its archive, when they are asked for."""

    digest: Digest
    pieces: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one node, at most ``limit_bytes`` of them. Safe to use from several threads.

    Where the node cannot mount, or ``limit_bytes`` is 0, there are none.
    """

    pool: SandboxPool
    directory: Path  # on the file system of the workspaces
    limit_bytes: int
    image: Callable[[], str]  # of the sandbox that unpacks
    logger: Logger
    _kept: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)  # least recently used first
    _wanted: OrderedDict[str, Wanted] = field(default_factory=OrderedDict)
    _making: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def possible(self) -> bool:
        """Whether this node can have any."""
        return self.limit_bytes > 0 and self.pool.workspaces.bounded

    def lay(self, digest: Digest, workspace: Workspace) -> Overlay | None:
        """Put this cache below a workspace whose app is still empty; None if there is no snapshot of it."""
        with self._lock:
            snapshot = self._kept.get(digest.hex)
            if snapshot is None:
                return None
            self._kept.move_to_end(digest.hex)
            try:
                # Still under the lock: once it is mounted it may go.
                return lay_over(workspace, digest.hex, snapshot.place / "files" / "app", snapshot.owner)
            except (NodeError, OSError) as error:
                self.logger.warning("snapshot_not_mounted", reason=str(error))
                return None

    def want(self, digest: Digest, pieces: Callable[[], Iterable[bytes]]) -> None:
        """Have this cache unpacked when the node next comes to it."""
        with self._lock:
            if self.possible and digest.hex not in self._kept and digest.hex not in self._making:
                self._wanted[digest.hex] = Wanted(digest, pieces)
                self._wanted.move_to_end(digest.hex)
                if len(self._wanted) > _WAITING_MAX:
                    self._wanted.popitem(last=False)

    def make(self) -> None:
        """Unpack what is wanted, the newest first. Raises NodeError and RegistryError."""
        while (wanted := self._next()) is not None:
            try:
                self._make(wanted)
            finally:
                with self._lock:
                    self._making.discard(wanted.digest.hex)

    def forget(self, wanted_bytes: int) -> int:
        """Remove those that were used longest ago, until so many bytes are free; returns how many are.

        A build that stands on one keeps it to its end, and its bytes with it.
        """
        freed_bytes = 0
        while freed_bytes < wanted_bytes:
            with self._lock:
                if not self._kept:
                    break
                _, snapshot = self._kept.popitem(last=False)
            remove(snapshot.place)
            freed_bytes += snapshot.size_bytes
        return freed_bytes

    def remove_all(self) -> None:
        """Remove also what an earlier process left. For the node's start and end."""
        self.forget(1 << 62)
        for place in self.directory.iterdir() if self.directory.is_dir() else ():
            remove(place)

    @property
    def size_bytes(self) -> int:
        """Of all of them together."""
        with self._lock:
            return sum(snapshot.size_bytes for snapshot in self._kept.values())

    def _next(self) -> Wanted | None:
        with self._lock:
            if not self._wanted:
                return None
            digest, wanted = self._wanted.popitem()
            self._making.add(digest)
            return wanted

    def _make(self, wanted: Wanted) -> None:
        place = self.directory / wanted.digest.hex
        with self.pool.take(f"snapshot-{wanted.digest.hex[:20]}", self.image(), {}) as (workspace, sandbox):
            ended = sandbox.run([_MAKE], stdin=wanted.pieces())
            if ended.code != 0:
                self.logger.warning("snapshot_not_made", reason=f"the unpacking ended with {ended.code}")
                return
            workspace.freeze(sandbox.kill)
            self.pool.workspaces.keep(workspace, place)
            size_bytes = (place / "disk.ext4").stat().st_blocks * 512
            with self._lock:
                self._kept[wanted.digest.hex] = Snapshot(place, workspace.host_owner, size_bytes)
        self.forget(self.size_bytes - self.limit_bytes)
