"""Snapshots: caches that this node has unpacked, read-only, so that a build can begin on one instead of unpacking it.

A snapshot is the content of one archive of a cache and is known by its digest, so it does not matter which build made
it or where. It was unpacked in a sandbox, like every cache, and is frozen in its own file system. It never outlives the
process that made it: what a power failure left is not used.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import AppError, NodeError, NodeStopped
from buildfarm.oci.digest import Digest
from buildfarm.telemetry import Logger
from workers.attempt.memory import NoMemoryError
from workers.attempt.signals import Check
from workers.sandbox.overlay import Overlay, lay_over
from workers.sandbox.pool import SandboxPool
from workers.sandbox.workspace import Workspace, remove

_MAKE = "/usr/lib/buildfarm/make-snapshot"
_TICK_SECONDS = 0.25
_AWAIT_SECONDS_MAX = 30.0
_WAITING_MAX = 8
_REFUSED_MAX = 1000


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

    Where the node cannot mount, or ``limit_bytes`` is 0, there are none; nor before `allow` was called.
    """

    pool: SandboxPool
    directory: Path  # on the file system of the workspaces
    limit_bytes: int
    image: Callable[[], str]  # of the sandbox that unpacks
    logger: Logger
    _kept: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)  # least recently used first
    _wanted: OrderedDict[str, Wanted] = field(default_factory=OrderedDict)
    _making: dict[str, threading.Event] = field(default_factory=dict)  # set once it is kept or failed
    _refused: set[str] = field(default_factory=set)  # those that cannot become any
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _allowed: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def possible(self) -> bool:
        """Whether this node can have any."""
        return self.limit_bytes > 0 and self.pool.workspaces.bounded and self._allowed.is_set()

    def allow(self, later_mounts_are_seen: bool) -> None:
        """Call it at the node's start with what a probe found: do sandboxes see what is mounted after their start?

        Where they do not, a build would write its app below the mount that the node reads.
        """
        if later_mounts_are_seen:
            self._allowed.set()
        elif self.limit_bytes > 0 and self.pool.workspaces.bounded:
            reason = "sandboxes do not see what is mounted after their start"
            self.logger.warning("no_snapshots", reason=reason, advice="See docs/security.md.")

    def lay(self, digest: Digest, workspace: Workspace) -> Overlay | None:
        """Put this cache below a workspace whose app is still empty; None if there is no snapshot of it.

        The build then unpacks it, and none is made at the same time, until it is wanted again.
        """
        with self._lock:
            snapshot = self._kept.get(digest.hex)
            if snapshot is None:
                self._wanted.pop(digest.hex, None)
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
            if self.possible and not any(digest.hex in known for known in (self._kept, self._making, self._refused)):
                self._wanted[digest.hex] = Wanted(digest, pieces)
                self._wanted.move_to_end(digest.hex)
                if len(self._wanted) > _WAITING_MAX:
                    self._wanted.popitem(last=False)

    def make(self) -> None:
        """Unpack one that is wanted, the newest first. Raises AppError, NodeError and RegistryError."""
        wanted = self._next()
        if wanted is None:
            return
        try:
            self._make(wanted)
        except NodeStopped:
            return
        except NoMemoryError:  # builds have it; this one is still wanted
            self._want_again(wanted)
            return
        except AppError:  # its sandbox ran out of time or memory, as it would again
            self._refuse(wanted.digest)
            raise
        finally:
            with self._lock:
                made = self._making.pop(wanted.digest.hex)
            made.set()
        self.forget(self.size_bytes - self.limit_bytes)

    def await_made(self, digest: Digest, check: Check) -> None:
        """Wait while this cache is being unpacked: what has begun ends sooner than the same work anew beside it.

        After ``_AWAIT_SECONDS_MAX`` the build no longer waits and unpacks the cache itself. Raises what ``check`` does.
        """
        until = time.monotonic() + _AWAIT_SECONDS_MAX
        with self._lock:
            made = self._making.get(digest.hex)
        while made is not None and not made.wait(_TICK_SECONDS) and time.monotonic() < until:
            check()

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

    def end(self) -> None:
        """Make no more, and stop making one: the node ends."""
        self._ended.set()

    def has_ended(self) -> bool:
        """Whether the node ends."""
        return self._ended.is_set()

    def remove_all(self) -> None:
        """Remove also what an earlier process left. For the node's start and end."""
        self.forget(1 << 62)
        remove_snapshots(self.directory)

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
            self._making[digest] = threading.Event()
            return wanted

    def _want_again(self, wanted: Wanted) -> None:
        with self._lock:
            if len(self._wanted) < _WAITING_MAX:
                self._wanted[wanted.digest.hex] = wanted

    def _make(self, wanted: Wanted) -> None:
        # Another name each time: one that was forgotten may still be on its way out.
        place = self.directory / f"{wanted.digest.hex}-{secrets.token_hex(4)}"
        name = f"snapshot-{wanted.digest.hex[:20]}"
        with self.pool.take(name, self.image(), {}, check=self._go_on, for_build=False) as (workspace, sandbox):
            with workspace.written_whole():
                ended = sandbox.run([_MAKE], stdin=wanted.pieces())
                if ended.code != 0:
                    self.logger.warning("snapshot_not_made", reason=f"the unpacking ended with {ended.code}")
                    self._refuse(wanted.digest)
                    return
                workspace.freeze(sandbox.kill)
            size_bytes = workspace.disk_bytes
            if size_bytes > self.limit_bytes:  # nor may the others go for it
                self.logger.info("snapshot_too_large", size_bytes=size_bytes, limit_bytes=self.limit_bytes)
                self._refuse(wanted.digest)
                return
            self.pool.workspaces.keep(workspace, place)
            with self._lock:
                self._kept[wanted.digest.hex] = Snapshot(place, workspace.host_owner, size_bytes)
                self._making[wanted.digest.hex].set()  # a build need not wait until the sandbox is gone

    def _refuse(self, digest: Digest) -> None:
        with self._lock:
            if len(self._refused) >= _REFUSED_MAX:
                self._refused.clear()
            self._refused.add(digest.hex)

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise NodeStopped("The node ends.")


def remove_snapshots(directory: Path) -> None:
    """Remove what a process that has ended left in its folder, and the folder. Raises NodeError."""
    for place in directory.iterdir() if directory.is_dir() else ():
        remove(place)
    with suppress(OSError):  # there is none, or it could not be emptied
        directory.rmdir()
