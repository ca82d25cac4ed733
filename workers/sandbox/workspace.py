"""Workspaces: a build's files on their own file system, so that a build can fill only its own disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildfarm.errors import NodeError
from workers.build_folder import BuildFolder
from workers.sandbox import mounts

# Slot n runs as the user of this number + n; the builder image names them, and docs/settings.md allows 64 slots.
FIRST_ID = 10_000
SLOTS_MAX = 64

_COMMAND_SECONDS = 60
_FREEZE_SECONDS = 10
_DISK = "disk.ext4"  # the file that its file system is in
# ext4 keeps blocks aside for what it has yet to write, and has some of them back after the write that found none.
_ROOM_BYTES = 1024 * 1024

# include/uapi/linux/loop.h and major.h
_LOOP_CONTROL = Path("/dev/loop-control")
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_MAJOR = 7


@dataclass(frozen=True)
class Workspace:
    """The folders of one build; the sandbox sees them as /app, /cache, /tmp and /layers.

    On a snapshot app and cache are one file system, which the sandbox also sees whole as ``merged``.
    """

    app: BuildFolder
    cache: BuildFolder
    tmp: BuildFolder
    layers: BuildFolder  # of Cloud Native Buildpacks
    merged: BuildFolder  # empty without a snapshot
    own: Path  # a folder on the same file system for the node itself; the sandbox sees nothing of it
    owner: int  # user and group of the customer's code, as the sandbox sees them
    mount: Path | None = None  # where its file system is mounted; None if it is a plain folder
    user_offset: int = 0  # where the engine's user namespace begins on this host

    @property
    def host_owner(self) -> int:
        """The same user as this host sees it."""
        return self.owner + self.user_offset

    @property
    def full(self) -> bool:
        """Whether there is room for another file; only root's workspaces are bounded by themselves."""
        state = os.statvfs(self.own)
        return state.f_bavail * state.f_frsize < _ROOM_BYTES or state.f_favail == 0

    @property
    def disk_bytes(self) -> int:
        """What its file system takes of the disk; only root's workspaces have one."""
        return (self.own.parent.parent / _DISK).stat().st_blocks * 512

    @contextmanager
    def written_whole(self) -> Iterator[None]:
        """Raises NodeError at the end of the block if the node's disk did not take all that was written in it.

        A write to a file system in a file succeeds in memory, and what is lost afterwards, because the node's disk is
        full, would be read as zeros.
        """
        descriptor = os.open(self.own, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield
            mounts.sync(descriptor)
        finally:
            os.close(descriptor)

    def check_written(self) -> None:
        """Raises NodeError if the node's disk did not take what was written on a snapshot since it was mounted.

        Nothing is written for it: a ``volatile`` overlay answers fsync with what writes below it have come to. Without
        a snapshot nothing is checked.
        """
        if not self._laid_over:
            return
        descriptor = os.open(self.merged.bind_source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise NodeError(f"The node's disk did not take all of a workspace: {error.strerror}.") from error
        finally:
            os.close(descriptor)

    def freeze(self, end_processes: Callable[[], object], *, layers: bool = True) -> None:
        """Make it read-only, and make the kernel refuse links in it.

        Without ``layers``, /layers and /tmp may stay writable: on a snapshot, app and cache alone can be frozen without
        all that the build wrote going to the file of its file system first, half a second for 400 MB.

        While a file is open for writing the kernel refuses; only then ``end_processes`` is called, which ends all that
        run in the sandbox and takes the engine 120 ms. A plain folder cannot be frozen, so there it is always called.
        Raises NodeError if a file stays open for writing, and what ``end_processes`` raises.
        """
        if self.mount is None:
            end_processes()
            return
        if not self._frozen(layers):
            end_processes()
            # A process that was just killed may hold a file open for a moment.
            deadline = time.monotonic() + _FREEZE_SECONDS
            while not self._frozen(layers):
                if time.monotonic() > deadline:
                    raise NodeError("The node cannot freeze a workspace: a file in it stays open for writing.")
                time.sleep(0.02)
        for folder in (self.mount, *self._laid_over):
            mounts.protect(folder)

    def _frozen(self, layers: bool) -> bool:
        """Whether it is read-only now. An overlay comes first: it remembers removed files of its upper tree."""
        if self._laid_over and not mounts.make_read_only(Path(self.merged.bind_source)):
            return False
        if self._laid_over and not layers:
            return True
        return self.mount is not None and mounts.make_read_only(self.mount)

    @property
    def _laid_over(self) -> list[Path]:
        """Its folders that are mounts of their own, on a snapshot."""
        places = [Path(folder.bind_source) for folder in (self.app, self.cache)]
        return [place for place in places if place.is_mount()]


@dataclass(frozen=True)
class Workspaces:
    """Makes and removes the workspaces of one node, below ``directory``.

    As root each is a loop-mounted ext4 file of at most ``limit_bytes`` and ``inodes`` (measured: 35-115 ms); for an
    ordinary user, who cannot mount, it is a plain folder without those limits. ``user_offset`` is where the engine's
    user namespace begins on this host, 0 if it has none.
    """

    directory: Path
    limit_bytes: int
    inodes: int
    user_offset: int = 0
    _taken: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bounded(self) -> bool:
        """Whether a build's disk has its own limit."""
        return os.geteuid() == 0

    def limited(self, limit_bytes: int) -> Workspaces:
        """The same, with disks of this size."""
        return replace(self, limit_bytes=limit_bytes)

    @contextmanager
    def make(self, name: str) -> Iterator[Workspace]:
        """A workspace for the length of the block. Raises NodeError."""
        root = self.directory / name
        with self._slot() as slot:
            try:
                workspace = self._create(root, FIRST_ID + slot if self.bounded else os.geteuid())
            except (OSError, NodeError) as error:
                remove(root)
                raise NodeError(f"The node cannot make a workspace: {error}") from error
            try:
                yield workspace
            finally:
                remove(root)

    def keep(self, workspace: Workspace, place: Path) -> None:
        """Move a frozen workspace, whose sandbox is gone, to where nothing removes it at the end of its block.

        ``place`` is on the same file system. Raises OSError.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        workspace.own.parent.parent.rename(place)

    def left_behind(self) -> list[Path]:
        """Workspaces that are there now."""
        return sorted(self.directory.iterdir()) if self.directory.is_dir() else []

    @contextmanager
    def _slot(self) -> Iterator[int]:
        """A number that no other build on this node has now, so that no two builds are the same user."""
        with self._lock:
            free = [number for number in range(SLOTS_MAX) if number not in self._taken]
            if not free:
                raise NodeError(f"The node runs {SLOTS_MAX} builds already.")
            self._taken.add(free[0])
        try:
            yield free[0]
        finally:
            with self._lock:
                self._taken.discard(free[0])

    def _create(self, root: Path, owner: int) -> Workspace:
        files = root / "files"
        # The remapped root of a user namespace must be able to go through; it cannot list anything.
        root.mkdir(parents=True, mode=0o711 if self.user_offset else 0o700)
        files.mkdir()
        if self.bounded:
            self._mount(root / _DISK, files)
        own = files / "node"
        own.mkdir(mode=0o711)
        folders = [files / name for name in ("app", "cache", "tmp", "layers")]
        for folder in folders:
            folder.mkdir(mode=0o755)
            os.chown(folder, owner + self.user_offset, owner + self.user_offset)
        merged = files / "merged"
        merged.mkdir(mode=0o755)
        app, cache, tmp, layers = map(BuildFolder, folders)
        mount = files if self.bounded else None
        return Workspace(app, cache, tmp, layers, BuildFolder(merged), own, owner, mount, self.user_offset)

    def _mount(self, disk: Path, at: Path) -> None:
        with disk.open("wb") as file:
            file.truncate(self.limit_bytes)
        # No journal: a workspace never outlives a crash.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(self.inodes), "-O", "^has_journal", "-E", "nodiscard", disk)
        # Nor must it reach the disk: without these, its freeze waits for a flush, and the kernel fills the tables of
        # inodes with zeros beside the build.
        mount = ("mount", "-o", "loop,nosuid,nodev,noatime,nobarrier,noinit_itable", disk, at)
        with self._lock:
            try:
                _run(*mount)
            except NodeError:
                if not _add_loop_device():
                    raise
                _run(*mount)
        mounts.share(at)


def remove(root: Path) -> None:
    """Removes a workspace, whatever is left of it. Raises NodeError."""
    files = root / "files"
    if files.is_mount():
        # Lazily: a process that is just being killed may still hold a file open.
        _run("umount", "--lazy", files)
    # A plain folder still contains the build's files; rmtree follows no link (`shutil.rmtree.avoids_symlink_attacks`).
    shutil.rmtree(root, ignore_errors=True)
    if os.geteuid() != 0 and root.is_dir():
        # Some builds leave folders without the right to write (Go's modules: 0555), which binds their owner too.
        # chmod follows no link that it meets on its way.
        with suppress(NodeError):
            _run("chmod", "--recursive", "u+rwx", "--", root)
        shutil.rmtree(root, ignore_errors=True)


def _add_loop_device() -> bool:
    """Makes the file of the next free loop device, which a container's /dev lacks where the container is older."""
    with _LOOP_CONTROL.open() as control:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    path = Path(f"/dev/loop{number}")
    if path.exists():
        return False
    os.mknod(path, 0o660 | stat.S_IFBLK, os.makedev(_LOOP_MAJOR, number))
    return True


def _run(*command: str | Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"The node cannot run {command[0]}: {error}.") from error
    if done.returncode != 0:
        raise NodeError(f"{command[0]} failed on the node: {done.stderr.strip()}")
