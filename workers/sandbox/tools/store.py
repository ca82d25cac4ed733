"""The build tools of this node: fetched from the registry once, unpacked, and mounted read-only into every sandbox.

    DIRECTORY/ready/NAME/VERSION-DIGEST/   a tool, complete; DIGEST is the beginning of its artifact's
    DIRECTORY/half-*/                      one that is being fetched or removed, under a lock; sandboxes do not see it

A tool's modification time is when a build last requested it. A tool that was not requested for longer than a build can
take is not in use. Marking a tool as used and removing one exclude each other by a lock on DIRECTORY, so that several
nodes on one machine can share it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildfarm.errors import NodeError
from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.manifest import Descriptor, Manifest
from buildfarm.oci.registry import Registry
from buildfarm.recipes.catalogue import ANY, ARTIFACT_TYPE, MACHINE, UNPACKED_BYTES, tool_repository
from workers.attempt.signals import Check
from workers.sandbox.tools.archive import unpack

TOOL_BYTES_MAX = 1024 * 1024 * 1024

_HALF = "half-"
_DIGITS = 12
_SYNC_SECONDS = 20


class NoToolError(NodeError):
    """The tool is not available on this node; the message completes a sentence with "because"."""


@dataclass(frozen=True)
class ToolStore:
    """The tools below ``directory``, at most ``limit_bytes`` together."""

    registry: Registry
    directory: Path
    limit_bytes: int
    idle_seconds: float  # longer than any build; after it a tool is no longer in use
    machine: str = field(default_factory=platform.machine)

    @property
    def ready(self) -> Path:
        """What sandboxes see."""
        return self.directory / "ready"

    def open(self) -> None:
        """Make the folders; for the node's start. Raises OSError."""
        for folder in (self.directory, self.ready):
            _make_folder(folder)

    def during(self, check: Check) -> ToolStore:
        """The same store for one attempt: what ``check`` raises ends a download within a second."""
        return replace(self, registry=self.registry.during(check))

    def provide(self, name: str, version: str) -> str:
        """Have the tool ready, fetched if this node has no copy; return its folder below `ready`.

        Raises NoToolError and RegistryError with a sentence that completes "because".
        """
        repository = tool_repository(name)
        try:
            manifest, digest = self.registry.read_manifest(repository, version)
            blob, unpacked_bytes = self._check(manifest)
            folder = f"{name}/{version}-{digest.hex[:_DIGITS]}"
            if not self._use(folder):
                self._fetch(repository, blob, unpacked_bytes, folder)
        except NotInRegistryError as error:
            raise NoToolError("it is not in the registry", advice=f"buildfarm tools make {name}@{version}") from error
        except (OtherContentError, ValueError) as error:
            raise NoToolError(f"its artifact is refused: {str(error).rstrip('.')}") from error
        except OSError as error:
            raise NoToolError(f"this node cannot keep it: {error.strerror}") from error
        return folder

    def forget(self, wanted_bytes: int) -> int:
        """Remove tools that no build uses, the longest unused first, until so many bytes are free; return how many."""
        freed_bytes = 0
        for _, folder in sorted(self._last_used()):
            if freed_bytes >= wanted_bytes:
                break
            freed_bytes += self._remove(folder)
        return freed_bytes

    def remove_partial(self) -> None:
        """Remove what a killed process left half-made. Another node on this machine may be at work meanwhile."""
        for half in self.directory.glob(f"{_HALF}*"):
            with suppress(OSError), _locked(half, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(half)

    def _check(self, manifest: Manifest) -> tuple[Descriptor, int]:
        """The archive, and its size unpacked. Raises ValueError if it is not a tool for this node."""
        if manifest.artifact_type != ARTIFACT_TYPE or len(manifest.layers) != 1:
            raise ValueError("it is not a build tool")
        if (machine := manifest.annotations.get(MACHINE)) not in (ANY, self.machine):
            raise ValueError(f"it is made for {machine}, and this node is {self.machine}")
        unpacked_bytes = int(manifest.annotations.get(UNPACKED_BYTES, TOOL_BYTES_MAX))
        if max(unpacked_bytes, manifest.layers[0].size) > TOOL_BYTES_MAX:
            raise ValueError(f"it is larger than {TOOL_BYTES_MAX:,} bytes")
        return manifest.layers[0], unpacked_bytes

    def _use(self, folder: str) -> bool:
        """Mark the tool as used now; False if it is not here."""
        with _locked(self.directory, fcntl.LOCK_SH):
            try:
                os.utime(self.ready / folder)
            except FileNotFoundError:
                return False
        return True

    def _fetch(self, repository: str, blob: Descriptor, unpacked_bytes: int, folder: str) -> None:
        self._make_room(unpacked_bytes)
        half = Path(tempfile.mkdtemp(prefix=_HALF, dir=self.directory))
        with _locked(half, fcntl.LOCK_EX):
            try:
                archive, tree = half / "archive", half / "tree"
                with archive.open("xb") as file:
                    for piece in self.registry.get_blob(repository, blob.digest, limit_bytes=blob.size):
                        file.write(piece)
                # Only now its digest is known to be right.
                unpack(archive, tree, limit_bytes=unpacked_bytes)
                _write_out(tree)
                self._put(tree, folder)
            finally:
                shutil.rmtree(half, ignore_errors=True)

    def _put(self, tree: Path, folder: str) -> None:
        target = self.ready / folder
        _make_folder(target.parent)
        try:
            tree.rename(target)
        except OSError:
            if not target.is_dir():  # another build may have been first
                raise
        self._use(folder)

    def _make_room(self, wanted_bytes: int) -> None:
        """Raises NoToolError if builds use too much of the limit."""
        over_bytes = sum(_size(folder) for _, folder in self._last_used()) + wanted_bytes - self.limit_bytes
        if over_bytes > 0 and self.forget(over_bytes) < over_bytes:
            raise NoToolError("BUILDFARM_TOOL_COPIES_BYTES leaves no room for it beside the tools in use")

    def _remove(self, folder: Path) -> int:
        """Bytes that this freed: none if the tool is in use, or was removed by another node."""
        size_bytes = _size(folder)
        # Only renamed under the lock, for which other builds wait. A full disk has no room for another folder.
        half = self.directory / f"{_HALF}{secrets.token_hex(8)}"
        try:
            with _locked(self.directory, fcntl.LOCK_EX):
                if time.time() - folder.stat().st_mtime < self.idle_seconds:
                    return 0
                folder.rename(half)
        except FileNotFoundError:
            return 0
        shutil.rmtree(half, ignore_errors=True)
        return size_bytes

    def _last_used(self) -> Iterator[tuple[float, Path]]:
        for folder in self.ready.glob("*/*"):
            with suppress(FileNotFoundError):
                yield folder.stat().st_mtime, folder


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Raises OSError, BlockingIOError among others."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Whatever the umask is: builds run as other users."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def _write_out(tree: Path) -> None:
    """A node that loses its power must not find a complete tool with empty files."""
    with suppress(subprocess.TimeoutExpired):  # a busy disk must not cost the build its tool
        subprocess.run(["sync", "--file-system", tree], check=False, timeout=_SYNC_SECONDS, capture_output=True)


def _size(folder: Path) -> int:
    """Bytes of its files; those of a folder that another process is removing may be missing."""
    total_bytes = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            total_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total_bytes
