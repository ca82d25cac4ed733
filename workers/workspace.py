"""Workspaces: a build's files on a file system of their own, so that a build fills its own disk and nobody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import NodeError

SANDBOX_ID = 1000  # user and group of the customer's code, in the builder image

_COMMAND_SECONDS = 60
_ROOM_BYTES = 64 * 1024


@dataclass(frozen=True)
class Workspace:
    """The folders of one build; the sandbox sees them as /app, /cache and /tmp."""

    app: Path
    cache: Path
    tmp: Path

    @property
    def full(self) -> bool:
        """Whether there is room for another file; only root's workspaces are bounded by themselves."""
        state = os.statvfs(self.app)
        return state.f_bavail * state.f_frsize < _ROOM_BYTES or state.f_favail == 0


@dataclass(frozen=True)
class Workspaces:
    """Makes and removes the workspaces of one node, below ``directory``.

    As root each is a loop-mounted ext4 file of at most ``limit_bytes`` and ``inodes`` (measured: 35-115 ms); for an
    ordinary user, who cannot mount, it is a plain folder without those limits.
    """

    directory: Path
    limit_bytes: int
    inodes: int

    @property
    def owner(self) -> int:
        """User and group that the sandbox runs as, so that it may write here."""
        return SANDBOX_ID if self._mounts else os.geteuid()

    @property
    def _mounts(self) -> bool:
        return os.geteuid() == 0

    @contextmanager
    def make(self, name: str) -> Iterator[Workspace]:
        """A workspace for the length of the block. Raises NodeError."""
        root = self.directory / name
        try:
            workspace = self._create(root)
        except (OSError, NodeError) as error:
            remove(root)
            raise NodeError(f"The node cannot make a workspace: {error}") from error
        try:
            yield workspace
        finally:
            remove(root)

    def left_behind(self) -> list[Path]:
        """Workspaces that are there now."""
        return sorted(self.directory.iterdir()) if self.directory.is_dir() else []

    def _create(self, root: Path) -> Workspace:
        files = root / "files"
        root.mkdir(parents=True, mode=0o700)
        files.mkdir()
        if self._mounts:
            self._mount(root / "disk.ext4", files)
        workspace = Workspace(*(files / part for part in ("app", "cache", "tmp")))
        for folder in (workspace.app, workspace.cache, workspace.tmp):
            folder.mkdir(mode=0o755)
            os.chown(folder, self.owner, self.owner)
        return workspace

    def _mount(self, disk: Path, at: Path) -> None:
        with disk.open("wb") as file:
            file.truncate(self.limit_bytes)
        # No journal: a workspace never outlives a crash.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(self.inodes), "-O", "^has_journal", "-E", "nodiscard", disk)
        _run("mount", "-o", "loop,nosuid,nodev,noatime", disk, at)


def remove(root: Path) -> None:
    """Removes a workspace, whatever is left of it. Raises NodeError."""
    files = root / "files"
    if files.is_mount():
        # Lazily: a process that is just being killed may still hold a file open.
        _run("umount", "--lazy", files)
    shutil.rmtree(root, ignore_errors=True)


def _run(*command: str | Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"The node cannot run {command[0]}: {error}.") from error
    if done.returncode != 0:
        raise NodeError(f"{command[0]} failed on the node: {done.stderr.strip()}")
