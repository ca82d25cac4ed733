"""A folder as a deterministic tar stream: one normaliser for times, owners, modes and names.

The entries' times are all 1 (one second after the epoch: some tools take 0 for "unknown"), the owner is a given number,
set-id and sticky bits are gone, extended attributes too, and names come in one order. Of files that are hard links of
each other the first is a file, and the others link to it. So the bytes depend on the tree's names, contents, links and
permissions and on nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple, cast

from buildfarm.errors import NodeError, TooLargeError

MTIME_SECONDS = 1

_NAMED_AT_ONCE = 4096
_PIPE_BYTES = 64 * 1024
_PATH_MAX = 4096 - 1  # Linux opens no longer path (limits.h, PATH_MAX with the NUL at the end)

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def tar_command(
    root: Path,
    *,
    owner: int,
    names: bool = False,
    top: str | None = None,
    plain_modes: bool = False,
) -> list[str]:
    """GNU tar's arguments that write the folder ``root`` to standard output, as entries below ``root.name``.

    ``top`` takes the place of ``root.name`` in the archive: a plain word of letters, digits and ``-``. With
    ``plain_modes`` permissions are 0755 for folders and programs and 0644 for the rest, whatever umask made them.

    With ``names``, exactly the NUL-ended names on standard input are written, in that order; they start with
    ``root.name``, as `tree_names` gives them. Without, the whole tree is, in the same order: only for a folder that is
    the farm's own. GNU tar archives pipes and devices, and has no option against it.
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
        "--mode=a-st,u=rwX,go=rX" if plain_modes else "--mode=a-st",
        "--format=posix",
        # records of 64 KiB instead of 10: a fifth less of the time that tar and its reader take
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


class Found(NamedTuple):
    """An entry of a tree: its name with the root's before it, and what the file system says about it."""

    name: str
    is_folder: bool
    size_bytes: int  # 0 for a folder, whose size is the file system's own affair
    shape: str  # kind, permissions and size: the same for the same content anywhere
    identity: str  # inode, device and both times of change: unchanged as long as the file is not touched here


class Listing(NamedTuple):
    """A tree's entries, folder before content, sorted by bytes within each folder."""

    found: list[Found]
    left_out: list[str]  # names of pipes, sockets and devices: nothing in an image can use them


@dataclass(frozen=True)
class TreeLimits:
    """The largest tree that a listing can hold.

    Untrusted code makes these trees, and a worker lists them in the memory that it shares with its other builds. Even
    the largest tree allowed takes less than 256 MiB. Files of a workspace are limited too, but hard links are not files
    of their own, and that limit does not see the length of paths.
    """

    paths_bytes: int = 64 * 1024 * 1024  # all paths together; a path outside of ASCII counts 4 bytes a character
    entries: int = 400_000
    depth: int = 256


LIMITS = TreeLimits()


def scan(root: Path, *, depth: int | None = None, closed: Collection[str] = (), limits: TreeLimits = LIMITS) -> Listing:
    """List ``root`` and everything in it, or ``depth`` levels of it; what is in the folders ``closed`` is left out.

    Those are paths below ``root``. Raises TooLargeError as soon as the tree exceeds one of ``limits``, and NodeError if
    a folder cannot be read.

    Entries are handled column by column: one by one took three times as long, a fifth of the export of 25,000 files.
    """
    rows: list[tuple[str, int, str, str]] = []
    size, ascii_only, has_others = _Size(root.name, limits), True, False
    with closing(_find(root, limits.depth + 1 if depth is None else depth, closed)) as pieces:
        for text in pieces:
            fields = text.split("\0")
            paths, sizes, shapes, identities = (fields[number:-1:_FIELDS] for number in range(_FIELDS))
            size.add(paths, ascii_only=text.isascii())
            # As `_named` reverses it; a NUL comes before everything that can be in a name.
            places = [path.replace("/", "\0") for path in paths]
            rows += zip(places, map(int, sizes), shapes, identities, strict=True)
            ascii_only = ascii_only and text.isascii()
            has_others = has_others or _LEFT_OUT in shapes
    # Folder by folder, and by bytes, as tar sorts. Code points have the same order only if all names are UTF-8.
    rows.sort(key=itemgetter(0) if ascii_only else _place_in_bytes)
    found = _named(root.name, rows)
    if not has_others:
        return Listing(found, [])
    return Listing(
        [item for item in found if item.shape != _LEFT_OUT], [item.name for item in found if item.shape == _LEFT_OUT]
    )


def _named(top: str, rows: list[tuple[str, int, str, str]]) -> list[Found]:
    """The rows as entries, in the same list: two copies of all names would take half of the memory again."""
    found = cast("list[Found]", rows)
    for at in range(0, len(rows), _NAMED_AT_ONCE):
        places, sizes, shapes, identities = zip(*rows[at : at + _NAMED_AT_ONCE], strict=True)
        names = [f"{top}/{place}".replace("\0", "/") for place in places]
        folders = [shape.startswith("d") for shape in shapes]
        found[at : at + _NAMED_AT_ONCE] = map(_FOUND, zip(names, folders, sizes, shapes, identities, strict=True))
    found[0] = found[0]._replace(name=top)  # find begins with the root, whose path is empty
    return found


def _place_in_bytes(row: tuple[str, int, str, str]) -> bytes:
    return os.fsencode(row[0])


@dataclass
class _Size:
    """How large a tree is, as far as it has been listed."""

    name: str
    limits: TreeLimits
    paths_bytes: int = 0
    entries: int = 0

    def add(self, paths: list[str], *, ascii_only: bool) -> None:
        """Count these paths. Raises TooLargeError."""
        lengths = list(map(len, paths))
        # Python holds a string in as many bytes a character as its widest one needs.
        self.paths_bytes += sum(lengths) if ascii_only else sum(len(p) * (1 if p.isascii() else 4) for p in paths)
        self.entries += len(paths)
        # The root's path is empty, and each level below it takes at least two characters.
        deepest = max(lengths, default=0) >= 2 * self.limits.depth and max(path.count("/") for path in paths) + 1
        for what, found, limit in (
            ("paths of more than {:,} bytes in total", self.paths_bytes, self.limits.paths_bytes),
            ("more than {:,} files and folders", self.entries, self.limits.entries),
            ("folders that nest more than {:,} deep", deepest, self.limits.depth),
        ):
            if found > limit:
                raise TooLargeError(
                    f"The build has {what.format(limit)} in {self.name}/.",
                    advice="Remove the files that the app does not need, or shorten the names of their folders.",
                )


def tree_names(root: Path) -> list[str]:
    """The names that `scan` finds."""
    return [found.name for found in scan(root).found]


def content_bytes(found: Iterable[Found]) -> int:
    """Bytes of the files in one archive, where the content of hard links is only once."""
    # Inode, device and times are the same for the links of one file, and for nothing else.
    return sum({item.identity: item.size_bytes for item in found}.values())


# As Found._make, without a call of Python's for each entry.
_FOUND: Callable[[tuple[object, ...]], Found] = partial(tuple.__new__, Found)

# find(1) prints four fields of each entry, with a NUL behind each: path below the root, size, shape, identity.
_FIELDS = 4
_IDENTITY = "%T@ %C@ %i %D\\0"
_LEFT_OUT = "x"
_FOLDER = "%P\\0000\\0d %m\\0" + _IDENTITY  # \000 and the digit 0
_FIND = [
    *("-type", "d", "-printf", _FOLDER, "-o"),
    *("(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\0%s\\0%y %m %s\\0" + _IDENTITY, "-o"),
    *("-printf", "%P\\0000\\0x\\0" + _IDENTITY),
]


def _find(root: Path, levels: int, closed: Collection[str]) -> Generator[str, None, None]:
    """What find prints of so many levels, in pieces of whole records; closing it ends find."""
    # An absolute path: find takes a name that begins with a dash for an option.
    top = os.fspath(root.absolute())
    shut = [
        word for path in closed for word in ("-path", _literal(f"{top}/{path}"), "-prune", "-printf", _FOLDER, "-o")
    ]
    command = ["find", top, "-maxdepth", str(levels), *shut, *_FIND]
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, env=_ENVIRONMENT)
        except OSError as error:
            raise NodeError(f"The tree cannot be read: {error}.") from error
        with process:
            try:
                yield from map(os.fsdecode, _whole_records(cast("IO[bytes]", process.stdout)))
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            complaints.seek(0)
            raise NodeError(f"The tree cannot be read: {os.fsdecode(complaints.read()).strip()[-300:]}")


def _literal(path: str) -> str:
    """The pattern of find that only this path matches."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def _whole_records(output: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := os.read(output.fileno(), _PIPE_BYTES):
        rest += piece
        end = rest.rfind(b"\0") + 1
        for _ in range(rest.count(b"\0") % _FIELDS):
            end = rest.rfind(b"\0", 0, end - 1) + 1
        if end:
            yield rest[:end]
            rest = rest[end:]


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
