"""A folder as a deterministic tar stream: one normaliser for times, owners, modes and names.

The entries' times are all 1 (one second after the epoch: some tools take 0 for "unknown"), the owner is a given number,
set-id and sticky bits are gone, extended attributes too, and names come in one order. Of files that are hard links of
each other the first is a file, and the others link to it. So the bytes depend on the tree's names, contents, links and
permissions and on nothing else.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from buildfarm.errors import NodeError

MTIME_SECONDS = 1

_READ_BYTES = 128 * 1024

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


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
    size_bytes: int  # 0 for a folder, whose size is the file system's own affair
    shape: str  # kind, permissions and size: the same for the same content anywhere
    identity: str  # inode, device and both times of change: the same as long as nobody touches it here


def scan(root: Path) -> list[Found]:
    """``root`` and everything in it, folder before content, sorted by bytes within each folder.

    Pipes, sockets and devices are left out: nothing in an image can use them. Raises NodeError when a folder cannot be
    read.
    """
    top = root.name
    records = [record.split(" ", 7) for record in _listed(root)]
    # By bytes, as tar sorts, and not by code point: the two differ for names that are not UTF-8.
    records.sort(key=lambda record: os.fsencode(record[7]).replace(b"/", b"\0"))
    found = []
    for kind, size, mode, modified, changed, inode, device, path in records:
        is_folder = kind == "d"
        found.append(
            Found(
                f"{top}/{path}" if path else top,
                is_folder,
                0 if is_folder else int(size),
                f"{kind} {mode}" if is_folder else f"{kind} {mode} {size}",
                f"{modified} {changed} {inode} {device}",
            )
        )
    return found


def tree_names(root: Path) -> list[str]:
    """The names that `scan` finds."""
    return [found.name for found in scan(root)]


def _listed(root: Path) -> Iterator[str]:
    """What find(1) prints of each entry: on another processor, while the entries before are taken apart here."""
    kinds = ["(", "-type", "f", "-o", "-type", "d", "-o", "-type", "l", ")"]
    command = ["find", os.fspath(root.absolute()), *kinds, "-printf", "%y %s %m %T@ %C@ %i %D %P\\0"]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, env=_ENVIRONMENT) as process,
    ):
        output = cast("IO[bytes]", process.stdout)
        partial = b""
        while chunk := output.read(_READ_BYTES):
            whole, found, rest = (partial + chunk).rpartition(b"\0")
            partial = rest
            if found:
                yield from os.fsdecode(whole).split("\0")
        if process.wait() != 0:
            complaints.seek(0)
            raise NodeError(f"The tree cannot be read: {os.fsdecode(complaints.read()).strip()[-300:]}")


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
