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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from buildfarm.errors import NodeError

MTIME_SECONDS = 1

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def tar_command(
    root: Path,
    *,
    owner: int,
    names: bool = False,
    folders: Sequence[str] = (),
    top: str | None = None,
    plain_modes: bool = False,
) -> list[str]:
    """GNU tar's arguments that write the folder ``root`` to standard output, as entries below ``root.name``.

    ``top`` takes the place of ``root.name`` in the archive: a plain word of letters, digits and ``-``. With
    ``plain_modes`` permissions are 0755 for folders and programs and 0644 for the rest, whoever's umask they come from.

    With ``names``, exactly the NUL-ended names on standard input are written, in that order; they start with
    ``root.name``, as `tree_names` gives them. Without, the whole tree is. With ``folders``, these folders are, each
    after those it is in. tar then finds by itself what is in a folder, which is faster, and there must be no pipe and
    no device: GNU tar archives those, and has no option against it. Both orders are the same.
    """
    if names:
        chosen = ["--null", "--no-recursion", "--files-from=-"]
    elif folders:
        chosen = ["--no-recursion", *_parents(folders), "--recursion", *folders]
    else:
        chosen = ["--", root.name]
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
        "--mode=a-st,u=rwX,go=rX" if plain_modes else "--mode=a-st",
        "--format=posix",
        # records of 64 KiB in place of 10: a fifth less of the time that tar and its reader take
        "--blocking-factor=128",
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


def _parents(folders: Iterable[str]) -> list[str]:
    """The folders that these are in, each once and before what is in it."""
    parts = [folder.split("/") for folder in folders]
    return list(dict.fromkeys("/".join(names[:depth]) for names in parts for depth in range(1, len(names))))


class Found(NamedTuple):
    """An entry of a tree: its name with the root's before it, and what the file system says about it."""

    name: str
    is_folder: bool
    size_bytes: int  # 0 for a folder, whose size is the file system's own affair
    shape: str  # kind, permissions and size: the same for the same content anywhere
    identity: str  # inode, device and both times of change: the same as long as nobody touches it here


class Listing(NamedTuple):
    """A tree's entries, folder before content, sorted by bytes within each folder."""

    found: list[Found]
    left_out: list[str]  # names of pipes, sockets and devices: nothing in an image can use them


def scan(root: Path, *, depth: int | None = None) -> Listing:
    """``root`` and everything in it, or so many levels of it. Raises NodeError when a folder cannot be read.

    Entries are handled column by column: one by one took three times as long, a fifth of the export of 25,000 files.
    """
    text = _find(root, [] if depth is None else ["-maxdepth", str(depth)])
    fields = text.split("\0")
    paths, sizes, shapes, identities = (fields[number:-1:_FIELDS] for number in range(_FIELDS))
    names = [root.name, *(f"{root.name}/{path}" for path in paths[1:])]  # find begins with the root, whose path is ""
    folders = [shape.startswith("d") for shape in shapes]
    found = list(map(_FOUND, zip(names, folders, map(int, sizes), shapes, identities, strict=True)))
    # By bytes, as tar sorts, and not by code point, since names need not be UTF-8.
    found.sort(key=_place if text.isascii() else _place_in_bytes)
    if _LEFT_OUT not in shapes:
        return Listing(found, [])
    return Listing(
        [item for item in found if item.shape != _LEFT_OUT], [item.name for item in found if item.shape == _LEFT_OUT]
    )


def _place(item: Found) -> str:
    """Folder by folder: a NUL comes before all that can be in a name."""
    return item.name.replace("/", "\0")


def _place_in_bytes(item: Found) -> bytes:
    return os.fsencode(_place(item))


def tree_names(root: Path) -> list[str]:
    """The names that `scan` finds."""
    return [found.name for found in scan(root).found]


def holds(folder: Path, size_bytes: int) -> bool:
    """Whether the entries in a folder have at least so many bytes, as `scan` counts; no more is looked at than needed.

    Raises NodeError when a folder cannot be read.
    """
    waiting = [os.fspath(folder)]
    try:
        while waiting and size_bytes > 0:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                        size_bytes -= entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise NodeError(f"The tree cannot be read: {error}.") from error
    return size_bytes <= 0


# As Found._make, without a call of Python's for each entry.
_FOUND: Callable[[tuple[object, ...]], Found] = partial(tuple.__new__, Found)

# find(1) prints four fields of each entry, with a NUL behind each: path below the root, size, shape, identity.
_FIELDS = 4
_IDENTITY = "%T@ %C@ %i %D\\0"
_LEFT_OUT = "x"
_FIND = [
    *("-type", "d", "-printf", "%P\\0000\\0d %m\\0" + _IDENTITY, "-o"),  # \000 and the digit 0
    *("(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\0%s\\0%y %m %s\\0" + _IDENTITY, "-o"),
    *("-printf", "%P\\0000\\0x\\0" + _IDENTITY),
]


def _find(root: Path, options: Sequence[str]) -> str:
    # An absolute path: find takes a name that begins with a dash for an option.
    command = ["find", os.fspath(root.absolute()), *options, *_FIND]
    # One pipe alone is read in large pieces.
    with tempfile.TemporaryFile() as complaints:
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=complaints, env=_ENVIRONMENT, check=False)
        except OSError as error:
            raise NodeError(f"The tree cannot be read: {error}.") from error
        if done.returncode != 0:
            complaints.seek(0)
            raise NodeError(f"The tree cannot be read: {os.fsdecode(complaints.read()).strip()[-300:]}")
    return os.fsdecode(done.stdout)


@dataclass(frozen=True)
class Entry:
    """A small file the farm itself adds to a layer, a symbolic ``link``, or a folder when there is neither.

    ``path`` is relative to the image's root, without a leading slash; ``mode`` are the permission bits, by default 0644
    for a file and 0755 for a folder; ``owner`` is user and group. Raises ValueError for a path that leaves the root.
    """

    path: str
    content: bytes | None = None
    mode: int | None = None
    owner: int = 0
    link: str | None = None

    def __post_init__(self) -> None:
        if not self.path or any(part in ("", ".", "..") for part in self.path.split("/")):
            raise ValueError(f"{self.path!r} cannot be an entry: expected a plain path relative to the image's root")

    def encode(self) -> bytes:
        """The entry in tar format (POSIX.1-2001 pax), padded to whole blocks of 512 bytes."""
        info = tarfile.TarInfo(self.path)
        info.mtime = MTIME_SECONDS
        info.uid = info.gid = self.owner
        if self.link is not None:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, self.link, 0o777
            return info.tobuf(tarfile.PAX_FORMAT)
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
