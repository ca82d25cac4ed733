"""A directory on the disk, where a source's files are: what is there, and how much of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from buildfarm.errors import SourceError

# A folder's content is counted for a report only.
_COUNTED_MAX = 100_000


@dataclass
class Tree:
    """What is on the disk. No path leads out of it: an index can name anything."""

    root: bytes
    _folders: dict[bytes, bool] = field(default_factory=dict)

    def has_folder(self, path: bytes) -> bool:
        """Whether it is a folder that is reached through no link."""
        folder = b""
        for name in path.split(b"/") if path else ():
            folder = folder + b"/" + name if folder else name
            if folder not in self._folders:
                self._folders[folder] = _is_plain(name) and stat.S_ISDIR(self._mode(folder))
            if not self._folders[folder]:
                return False
        return True

    def present(self, paths: Iterable[bytes]) -> Iterator[bytes]:
        """Those that are files or links."""
        for path in paths:
            above, _, name = path.rpartition(b"/")
            if _is_plain(name) and self.has_folder(above):
                mode = self._mode(path)
                if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                    yield path

    def files_in(self, folder: bytes) -> Iterator[bytes]:
        """Names of files and links below a folder, as many as the report counts."""
        found = 0
        for place, folders, names in os.walk(self.root + b"/" + folder.rstrip(b"/")):
            folders[:] = [name for name in folders if name != b".git"]
            for name in names:
                if found == _COUNTED_MAX:
                    return
                found += 1
                yield (place + b"/" + name)[len(self.root) + 1 :].lstrip(b"/")

    def _mode(self, path: bytes) -> int:
        try:
            return os.lstat(self.root + b"/" + path).st_mode
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return 0
            raise SourceError(f"{os.fsdecode(path)} cannot be read: {error.strerror}.") from error


def _is_plain(name: bytes) -> bool:
    return name not in (b"", b".", b"..", b".git") and b"\0" not in name


def with_folders(files: Iterable[bytes]) -> list[bytes]:
    """The files and the folders that they are in; by bytes within each folder, folders before their content."""
    names = set(files)
    for path in files:
        above = path.rpartition(b"/")[0]
        while above and above not in names:
            names.add(above)
            above = above.rpartition(b"/")[0]
    return sorted(names, key=lambda name: name.replace(b"/", b"\0"))
