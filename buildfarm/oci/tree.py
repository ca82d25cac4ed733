"""A folder as a deterministic tar stream: one normaliser for times, owners, modes and names.

The entries' times are all 1 (one second after the epoch: some tools take 0 for "unknown"), the owner is a given number,
set-id and sticky bits are gone, extended attributes too, and names come in one order. Of files that are hard links of
each other the first is a file, and the others link to it. So the bytes depend on the tree's names, contents, links and
permissions and on nothing else.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MTIME_SECONDS = 1


def tar_command(root: Path, *, owner: int, names: bool, top: str | None = None) -> list[str]:
    """GNU tar's arguments that write the folder ``root`` to standard output, as entries below ``root.name``.

    ``top`` takes the place of ``root.name`` in the archive: a plain word of letters, digits and ``-``.

    With ``names``, exactly the NUL-ended names on standard input are written, in that order; they start with
    ``root.name``, as `tree_names` gives them. Without, the whole tree is, and it must hold no pipe and no device: GNU
    tar archives those, and has no option against it. `tree_names` leaves them out.
    """
    chosen = ["--null", "--no-recursion", "--files-from=-"] if names else ["--", root.name]
    # names, and with them what hard links lead to; a symbolic link's target (S) is content
    renamed = [] if top is None else [f"--transform=flags=rhS;s,^[^/]*,{top},"]
    return [
        "tar",
        "--create",
        "--file=-",
        "--sort=name",
        f"--mtime=@{MTIME_SECONDS}",
        f"--owner={owner}",
        f"--group={owner}",
        "--numeric-owner",
        "--mode=a-st",
        "--format=posix",
        # tar's default name of an extended header holds its process id, and the header itself two more times
        "--pax-option=exthdr.name=./PaxHeaders/%f,delete=atime,delete=ctime",
        # a backslash is a character like any other
        "--no-unquote",
        # sockets cannot be archived, which is what we want of them and no reason to warn
        "--warning=no-file-ignored",
        *renamed,
        f"--directory={root.parent}",
        *chosen,
    ]


class Found(NamedTuple):
    """An entry of a tree: its name with the root's before it, and what the file system says about it."""

    name: str
    is_folder: bool
    status: os.stat_result


def scan(root: Path) -> Iterator[Found]:
    """``root`` and everything in it, folder before content, sorted by bytes within each folder.

    Pipes, sockets and devices are left out: nothing in an image can use them. Raises OSError when a folder cannot be
    read.
    """
    yield Found(root.name, True, root.stat(follow_symlinks=False))
    yield from _scan_in(root, root.name)


def tree_names(root: Path) -> Iterator[str]:
    """The names that `scan` finds."""
    return (found.name for found in scan(root))


def _scan_in(folder: str | Path, prefix: str) -> Iterator[Found]:
    with os.scandir(folder) as found:
        # by bytes, as tar sorts, and not by code point: the two differ for names that are not UTF-8
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        name = f"{prefix}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield Found(name, True, entry.stat(follow_symlinks=False))
            yield from _scan_in(entry.path, name)
        elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield Found(name, False, entry.stat(follow_symlinks=False))


@dataclass(frozen=True)
class Entry:
    """A small file the farm itself adds to a layer, or a folder when there is no ``content``.

    ``path`` is relative to the image's root, without a leading slash; ``mode`` are the permission bits, by default 0644
    for a file and 0755 for a folder; ``owner`` is user and group. Raises ValueError for a path that leaves the root.
    """

    path: str
    content: bytes | None = None
    mode: int | None = None
    owner: int = 0

    def __post_init__(self) -> None:
        if not self.path or any(part in ("", ".", "..") for part in self.path.split("/")):
            raise ValueError(f"{self.path!r} cannot be an entry: expected a plain path relative to the image's root")

    def encode(self) -> bytes:
        """The entry in tar format (POSIX.1-2001 pax), padded to whole blocks of 512 bytes."""
        info = tarfile.TarInfo(self.path)
        info.mtime = MTIME_SECONDS
        info.uid = info.gid = self.owner
        if self.content is None:
            info.type = tarfile.DIRTYPE
            info.mode = 0o755 if self.mode is None else self.mode
            return info.tobuf(tarfile.PAX_FORMAT)
        info.mode = 0o644 if self.mode is None else self.mode
        info.size = len(self.content)
        padding = -info.size % tarfile.BLOCKSIZE
        return info.tobuf(tarfile.PAX_FORMAT) + self.content + bytes(padding)


def header_entries(entries: Iterable[Entry]) -> bytes:
    """Entries as tar bytes that another tar stream can follow: there is no end-of-archive block behind them."""
    return b"".join(entry.encode() for entry in entries)
