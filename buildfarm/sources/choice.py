"""Which files of a directory belong to a source: those that git would send."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources.git import ask_git
from buildfarm.sources.listing import Listing
from buildfarm.sources.tree import Tree, with_folders
from buildfarm.sources.walk import walk


@dataclass(frozen=True)
class LeftOut:
    """A file or a folder that is not sent."""

    name: str  # relative to the directory; a folder's ends with a slash
    files: int
    origin: str  # the ignore file that names it
    rule: str  # its line; may be empty


@dataclass(frozen=True)
class Choice:
    """What belongs to a source."""

    names: tuple[str, ...]  # relative to the directory, sorted, folders before their content
    left_out: tuple[LeftOut, ...]


def choose(directory: Path, limit_bytes: int) -> Choice:
    """Choose what belongs to the source.

    In a git checkout that is what git tracks and what it would add: everything that no ignore file names. git is asked
    if it is installed. Without a repository only the ignore files count. A folder that is itself a repository, such as
    a submodule, is chosen by its own rules. Left out are also version control's own folders, empty folders, and what is
    not a file, folder or symbolic link. What .slugignore names is not: whether a build sees it depends on the stack.

    Raises:
        SourceError: there is nothing to pack, or something cannot be read.
        TooLargeError: the files have more than ``limit_bytes``.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory} is not a directory.", advice="Name the folder that holds the app's source.")
    tree = Tree(os.fsencode(directory))
    listings = list(_listings(directory, tree))
    files = set(tree.present(prefix + name for prefix, listing in listings for name in listing.files))
    left_out = tuple(sorted(_left_out(tree, listings, files), key=lambda item: item.name))
    if not files:
        raise _nothing(directory, left_out)
    _check(directory, files, limit_bytes)
    return Choice(tuple(os.fsdecode(name) for name in with_folders(files)), left_out)


def everything(directory: Path, limit_bytes: int) -> Choice:
    """All files and links of a directory that has nothing else in it. Raises as `choose` does."""
    top = os.fsencode(directory)
    kinds = stat.S_IFLNK, stat.S_IFREG
    paths = (place + b"/" + name for place, folders, names in os.walk(top) for name in (*folders, *names))
    files = [path[len(top) + 1 :] for path in paths if stat.S_IFMT(os.lstat(path).st_mode) in kinds]
    if not files:
        raise _nothing(directory, ())
    _check(directory, files, limit_bytes)
    return Choice(tuple(os.fsdecode(name) for name in with_folders(files)), ())


def _listings(directory: Path, tree: Tree) -> Iterator[tuple[bytes, Listing]]:
    """The listing of the directory, and of each repository in it, with the path that comes before its names."""
    waiting = [b""]
    while waiting:
        prefix = waiting.pop()
        folder, above = directory / os.fsdecode(prefix), not prefix
        listing = ask_git(folder, above=above) or walk(folder, above=above)
        yield prefix, listing
        waiting += [prefix + name + b"/" for name in sorted(listing.nested) if name and tree.has_folder(prefix + name)]


def _check(directory: Path, files: Iterable[bytes], limit_bytes: int) -> None:
    total_bytes = 0
    for name in files:
        path = directory / os.fsdecode(name)
        if not path.is_symlink() and not os.access(path, os.R_OK):
            raise SourceError(f"{path} cannot be read.", advice="Change its permissions, or ignore it.")
        total_bytes += path.lstat().st_size
        if total_bytes > limit_bytes:
            raise TooLargeError(
                f"The source is larger than {limit_bytes:,} bytes.",
                advice="List what the build does not need in .gitignore.",
            )


def _left_out(tree: Tree, listings: Iterable[tuple[bytes, Listing]], files: set[bytes]) -> Iterator[LeftOut]:
    """What the listings ignore, with the number of files in it that are not chosen by another rule."""
    for prefix, listing in listings:
        for item in listing.ignored:
            path = prefix + item.name
            inside = path.endswith(b"/") or not path
            count = sum(name not in files for name in tree.files_in(path)) if inside else 1
            if count:
                yield LeftOut(os.fsdecode(path or b"./"), count, item.origin, item.rule)


def _nothing(directory: Path, left_out: tuple[LeftOut, ...]) -> SourceError:
    if not left_out:
        return SourceError(
            f"{directory} contains nothing to build.", advice="Name the folder that holds the app's source."
        )
    why = f"{left_out[0].origin}{', ' if left_out[0].rule else ''}{left_out[0].rule}"
    return SourceError(
        f"{directory} contains nothing to build: git ignores all of its files ({why}).",
        advice="Change the rule, or run `git init` in the folder if it is a separate app.",
    )
