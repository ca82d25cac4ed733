"""The files of a served folder: its pages, its index files, the links that lead out of it, and a digest of it all."""

from __future__ import annotations

import hashlib
import os

TYPE_CHECKING = False  # of typing: what takes long to import is left out, since builds and starts wait for it
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HASHED_MAX_BYTES = 256 << 20  # a larger folder has no ETag: reading it would take a second and more at each start
BLOCK = 1 << 20
DEPTH_MAX = 64


class Tree:
    """All names are relative to the folder, with "/" between them.

    ``indexes`` are folders with an index.html, of which "" is the served folder itself, and ``outside`` are links that
    lead out of the folder.
    """

    def __init__(self, files: Iterable[str] = (), indexes: Iterable[str] = (), outside: Iterable[str] = ()) -> None:
        self.files, self.indexes, self.outside = list(files), list(indexes), list(outside)

    @property
    def pages(self) -> list[str]:
        """The names, without their ".html", of the pages that have an address without it."""
        pages = (name.removesuffix(".html") for name in self.files if name.endswith(".html"))
        taken = set(self.indexes)
        return [page for page in pages if page not in taken and page.rsplit("/", 1)[-1] not in ("index", "")]


def read_tree(root: Path | str, *, dot_files: bool = False) -> Tree:
    """The tree of what can be served. Links are followed if they stay below `root`."""
    tree = Tree()
    real_root = os.path.realpath(root)
    folders = [("", frozenset([real_root]))]
    while folders:
        folder, above = folders.pop()
        for entry in sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name):
            if entry.name.startswith(".") and not dot_files and (folder or entry.name != ".well-known"):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            real = os.path.realpath(entry.path)
            if real != real_root and not real.startswith(real_root + "/"):
                tree.outside.append(name)
            elif entry.is_file():
                tree.files.append(name)
                if entry.name == "index.html":
                    tree.indexes.append(folder)
            elif entry.is_dir() and real not in above and len(above) < DEPTH_MAX:
                folders.append((name, above | {real}))
    return Tree(sorted(tree.files), sorted(tree.indexes), sorted(tree.outside))


def digest(root: Path | str, tree: Tree, more: str) -> str:
    """A digest of all files and of `more`; empty for a folder too large to read at each start."""
    if sum(os.path.getsize(os.path.join(root, name)) for name in tree.files) > HASHED_MAX_BYTES:
        return ""
    whole = hashlib.sha256(more.encode())
    for name in tree.files:
        one = hashlib.sha256()
        with open(os.path.join(root, name), "rb") as file:
            while block := file.read(BLOCK):
                one.update(block)
        whole.update(os.fsencode(name) + b"\0" + one.digest())
    return whole.hexdigest()[:32]
