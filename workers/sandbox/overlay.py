"""A build on top of a snapshot: /app and /cache are an overlay, and what the build changes is in its own workspace.

What is in them is read through the overlay alone. The raw upper tree says which folders nobody touched: there, a
folder that the build only renamed is an empty one that names the folder of the snapshot that it was.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.build_folder import BuildFolder, NotPlainError
from workers.sandbox import mounts
from workers.sandbox.workspace import Workspace

# What a snapshot holds: an empty folder for the app, the cache, and a second copy of the trees in it, to move away; and
# another folder if there are hard links that must stay together, in which a file names the folders that have them.
APP, CACHE, SPARE, LINKED = "app", "cache", "spare", "linked"
_FOLDERS = "folders"
_FOLDERS_BYTES_MAX = 64 * 1024

# Documentation/filesystems/overlayfs.rst, "renaming directories"
_REDIRECT = "trusted.overlay.redirect"
_OPAQUE = "trusted.overlay.opaque"


@dataclass(frozen=True)
class Overlay:
    """One build's; ``snapshot`` is the name of what it stands on, ``lower`` and ``upper`` are where its trees are."""

    snapshot: str
    lower: Path
    upper: Path
    linked: Sequence[str]  # folders of the snapshot, in which one file may have several names

    def cache_untouched(self) -> bool:
        """Whether the cache is file by file that of the snapshot. After the workspace was frozen."""
        try:
            found = os.lstat(self.upper / CACHE)
        except FileNotFoundError:
            return True
        kept = os.lstat(self.lower / CACHE)
        return found.st_mode == kept.st_mode and self._is_bare(self.upper / CACHE) and not self._moved(CACHE)

    def unchanged(self) -> dict[str, str]:
        """Folders of the app that were moved there from the snapshot and not touched since: path, and which they are.

        Only those that can be separate layers are looked at: at the top, and in a hidden folder at the top. After
        the workspace was frozen.
        """
        found: dict[str, str] = {}
        for path in _folders(self.upper / APP, ""):
            inside = _folders(self.upper / APP, path) if path.startswith(".") else ()
            for folder in (path, *inside):
                moved = self._moved(f"{APP}/{folder}")
                if self._has_all_links(moved) and self._is_bare(self.upper / APP / folder):
                    found[folder] = f"{self.snapshot} {moved}"
        return found

    def _has_all_links(self, moved: str) -> bool:
        """Whether nothing in this folder of the spare trees can be written from outside of it."""
        return moved.startswith(f"/{SPARE}/") and not any(moved.startswith(f"{folder}/") for folder in self.linked)

    def _is_bare(self, folder: Path) -> bool:
        """Whether the upper tree has nothing in it, and does not hide what is below."""
        if not stat.S_ISDIR(os.lstat(folder).st_mode) or _attribute(folder, _OPAQUE):
            return False
        with os.scandir(folder) as entries:
            return next(entries, None) is None

    def _moved(self, path: str) -> str:
        """Where in the snapshot a folder was, from its root; empty if it is where it was."""
        return os.fsdecode(_attribute(self.upper / path, _REDIRECT))


def lay_over(workspace: Workspace, snapshot: str, tree: Path, owner: int) -> Overlay:
    """Make the app and the cache of a workspace an overlay on a snapshot whose files are of ``owner``.

    The workspace's app must be empty. Raises NodeError; then the workspace is as it was.
    """
    lower, upper, work = (workspace.own / name for name in ("lower", "upper", "work"))
    for folder in (lower, upper, work):
        folder.mkdir()
        folder.chmod(0o755)  # the root of what the build sees, which is not its own
    laid: list[Path] = []
    try:
        mounts.clone(tree, lower, owner=owner, seen_as=workspace.host_owner)
        laid.append(lower)
        merged = Path(workspace.merged.bind_source)
        linked = _has(lower, LINKED)
        folders = _linked_folders(lower) if linked else ()
        mounts.overlay(lower, upper, work, merged, linked=linked)
        laid.append(merged)
        for name, seen in ((APP, workspace.app), (CACHE, workspace.cache)):
            place = Path(seen.bind_source)
            mounts.bind(merged / name, place)
            laid.append(place)
    except BaseException:
        for mount in reversed(laid):
            mounts.detach(mount)
        raise
    return Overlay(snapshot, lower, upper, folders)


def mount_later(workspace: Workspace, name: str) -> None:
    """Mount a folder with this name in it where an overlay is mounted: does a sandbox that runs see it? NodeError."""
    shown = workspace.own / "shown"
    (shown / name).mkdir(parents=True)
    mounts.bind(shown, Path(workspace.merged.bind_source))


def _has(tree: Path, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(tree / name).st_mode)
    except FileNotFoundError:
        return False


def _linked_folders(lower: Path) -> Sequence[str]:
    """Those that make-snapshot listed; the folder of all spare trees if there is no list, or one that is too long."""
    try:
        noted = BuildFolder(lower / LINKED).read(_FOLDERS, _FOLDERS_BYTES_MAX)
    except NotPlainError:
        noted = None
    return [f"/{SPARE}"] if noted is None else os.fsdecode(noted).split("\0")[:-1]


def _folders(root: Path, path: str) -> Iterator[str]:
    """Folders right below ``path``, with that path before their names."""
    place = root / path
    try:
        with os.scandir(place) as entries:
            yield from [f"{path}/{entry.name}".lstrip("/") for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return


def _attribute(folder: Path, name: str) -> bytes:
    try:
        return os.getxattr(folder, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOENT):
            return b""
        raise
