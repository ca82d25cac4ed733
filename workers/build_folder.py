"""Folders that a build can write to, and the only two ways in which the node reaches what is in them.

A build can replace any folder by a link, even after its last step has ended, and the node is root: resolving a path
below such a folder can lead to any file of the node. So the node never resolves one.

- Python opens one component after another and follows no link (`read`, `has_file`, `may_have`, `folder`).
- tar and find start at a path none of whose components the build can change, and tar archives with ``--no-recursion``
  the names that a scan of the frozen tree found (`scan`, `archive`).

`BuildFolder` does not give out its path, so the type checker finds any other access;
tests/unit/workers/test_build_folder.py covers what the type checker cannot see.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.oci.tree import Found, Listing, scan, tar_command

# Only a place to open the next component from; nothing can be read through it.
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
# Opening a pipe must not wait for a writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
# As the kernel has it
_LINKS_MAX = 40
_LEADS_OUT = "is a link that leads out of the app"


class NotPlainError(Exception):
    """What is at a path is not a plain file or folder; the text completes "The NAME …"."""


@dataclass(frozen=True)
class Archive:
    """tar's arguments, and the names for its standard input: exactly these are archived, in this order."""

    argv: list[str]
    names: list[str]


@dataclass(frozen=True)
class BuildFolder:
    """A folder with untrusted content. The build cannot change any component of ``_place`` itself.

    Paths below it are relative and without dots. Names are those that `oci.tree.scan` returns: they begin with the
    folder's own name. Archive names only after the folder was frozen, or after every process of the sandbox has ended.
    """

    _place: Path

    @property
    def name(self) -> str:
        """Its own name, with which all names in it begin."""
        return self._place.name

    @property
    def bind_source(self) -> str:
        """The path for the engine, which mounts the folder into a sandbox. Nothing else may use it."""
        return str(self._place)

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        """Read a small file.

        Returns None if there is none. Raises NotPlainError if a link is anywhere on the path, if it is not a plain
        file, or if it has more than ``limit_bytes``.
        """
        try:
            with self._opened(path.split("/"), _READ) as descriptor:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise NotPlainError("is not a plain file")
                with open(descriptor, "rb", closefd=False) as file:
                    content = file.read(limit_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _not_plain(error) from error
        if len(content) > limit_bytes:
            raise NotPlainError(f"is larger than {limit_bytes // 1024:,} KiB")
        return content

    def place_of(self, path: str) -> str:
        """Return where a file is that links inside the folder lead to; any other path as it is.

        This only reads links: whatever the build changes meanwhile, `read` follows none. ``/app`` is the folder itself,
        as a link in a sandbox sees it. Raises NotPlainError if a link leads out of the folder, or in a circle.
        """
        done: list[str] = []
        left = path.split("/")
        links = 0
        while left:
            part = left.pop(0)
            if part == ".." and not done:
                raise NotPlainError(_LEADS_OUT)
            if part == "..":
                done.pop()
            elif (target := self.link_target("/".join([*done, part]))) is None:
                done.append(part)
            elif (links := links + 1) > _LINKS_MAX:
                raise NotPlainError("is a link in a circle")
            else:
                done = [] if target.startswith("/") else done
                left = [step for step in _below_app(target).split("/") if step not in ("", ".")] + left
        return "/".join(done)

    def may_have(self, path: str) -> bool:
        """Return False if nothing is at that path, and True if something is or a link on the way hides it."""
        *above, last = path.split("/")
        try:
            with self._opened(above, _STEP) as folder:
                os.stat(_component(last), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except (OSError, NotPlainError):
            return True
        return True

    def link_target(self, path: str) -> str | None:
        """Return what the link at that path points to; None if there is no link, or another one is on the way to it."""
        *above, last = path.split("/")
        try:
            with self._opened(above, _STEP) as folder:
                return os.readlink(_component(last), dir_fd=folder)
        except (OSError, NotPlainError):
            return None

    def has_file(self, path: str) -> bool:
        """Return whether there is a plain file, with no link on the way to it."""
        try:
            with self._opened(path.split("/"), _READ) as descriptor:
                return stat.S_ISREG(os.fstat(descriptor).st_mode)
        except (OSError, NotPlainError):
            return False

    def folder(self, name: str) -> BuildFolder:
        """Return a folder right below this one. Call it only after every process of the sandbox has ended.

        Raises NotPlainError if it is missing or is not a plain folder.
        """
        try:
            with self._opened([name], _STEP):
                return BuildFolder(self._place / name)
        except OSError as error:
            raise _not_plain(error) from error

    def scan(self, closed: Collection[str] = ()) -> Listing:
        """List everything in it but what is in the folders ``closed``, as `oci.tree.scan` does. Raises NodeError."""
        return scan(self._place, closed=closed)

    def archive(
        self, found: Iterable[Found], *, owner: int, top: str | None = None, plain_modes: bool = False
    ) -> Archive:
        """Return how to archive these entries, which a scan of the frozen folder found.

        ``owner``, ``top`` and ``plain_modes`` are those of `oci.tree.tar_command`.
        """
        argv = tar_command(self._place, owner=owner, names=True, top=top, plain_modes=plain_modes)
        return Archive(argv, [item.name for item in found])

    @contextmanager
    def _opened(self, parts: Sequence[str], last: int) -> Iterator[int]:
        """Open what is at these components with the flags ``last``, following no link.

        Raises OSError, and NotPlainError if a component is empty or has dots.
        """
        descriptor = os.open(self._place, _STEP if parts else last)
        try:
            for number, part in enumerate(parts, start=1):
                inner = os.open(_component(part), last if number == len(parts) else _STEP, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def _below_app(target: str) -> str:
    if target.startswith("/") and target != "/app" and not target.startswith("/app/"):
        raise NotPlainError(_LEADS_OUT)
    return target.removeprefix("/app") if target.startswith("/") else target


def _component(part: str) -> str:
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise NotPlainError("is not a plain path below its folder")
    return part


def _not_plain(error: OSError) -> NotPlainError:
    if error.errno == errno.ELOOP:
        return NotPlainError("is a symbolic link")
    if error.errno == errno.ENOTDIR:
        return NotPlainError("is not in plain folders: its path has a link or a file in it")
    return NotPlainError("is not there" if error.errno == errno.ENOENT else "cannot be read")
