"""Trees as builds leave them, generated: odd and long names, links of both kinds, and things no image can hold."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

# Any bytes but the two that no name can hold; long enough that a path passes what old tar headers took (100, 255).
NAMES = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"/", b"%").replace(b"\0", b"%")),
    st.text("abc-.", min_size=1, max_size=3).map(str.encode),
    st.integers(80, 200).map(lambda length: b"n" * length),
).filter(lambda name: name not in (b".", b"..") and not name.startswith(b".wh."))


@dataclass(frozen=True)
class Folder:
    mode: int
    inside: dict[bytes, object]


@dataclass(frozen=True)
class File:
    mode: int
    content: bytes


@dataclass(frozen=True)
class Link:
    target: bytes


@dataclass(frozen=True)
class HardLink:
    """To one of the files made before it, by number; a file if there is none yet."""

    number: int


@dataclass(frozen=True)
class Pipe:
    """No image can hold it."""


_LEAVES = st.one_of(
    st.builds(File, st.integers(0o400, 0o7777).map(lambda mode: mode | 0o400), st.binary(max_size=2000)),
    st.builds(Link, NAMES.map(lambda name: b"../" + name)),
    st.builds(HardLink, st.integers(0, 5)),
    st.builds(Pipe),
)

TREES = st.builds(
    Folder,
    st.just(0o755),
    st.dictionaries(
        NAMES,
        st.recursive(
            _LEAVES,
            lambda inner: st.builds(
                Folder,
                st.integers(0o700, 0o7777).map(lambda mode: mode | 0o700),
                st.dictionaries(NAMES, inner, max_size=4),
            ),
            max_leaves=8,
        ),
        max_size=5,
    ),
)


def plant(tree: Folder, root: Path) -> None:
    """Makes the tree at ``root``, which must not be there."""
    root.mkdir(parents=True)
    _fill(tree, os.fsencode(root), [])


def _fill(tree: Folder, folder: bytes, files: list[bytes]) -> None:
    for name, item in tree.inside.items():
        path = os.path.join(folder, name)
        match item:
            case Folder():
                os.mkdir(path)
                _fill(item, path, files)
            case Link(target):
                os.symlink(target, path)
            case Pipe():
                os.mkfifo(path)
            case HardLink(number) if files:
                os.link(files[number % len(files)], path)
            case File() | HardLink():
                content, mode = (item.content, item.mode) if isinstance(item, File) else (b"", 0o644)
                with open(path, "xb") as file:
                    file.write(content)
                os.chmod(path, mode)
                files.append(path)
    os.chmod(folder, tree.mode)


def describe(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What an image keeps of a tree: kinds, permissions, contents, targets, and which files are links of each other."""
    found: dict[bytes, tuple[object, ...]] = {}
    linked: dict[int, list[bytes]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            relative, mode = os.path.relpath(path, top), status.st_mode & 0o777
            if stat.S_ISLNK(status.st_mode):
                found[relative] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[relative] = ("folder", mode)
            elif stat.S_ISREG(status.st_mode):
                found[relative] = ("file", mode, Path(os.fsdecode(path)).read_bytes())
                linked.setdefault(status.st_ino, []).append(relative)
    for names in linked.values():
        for name in names:
            found[name] += (sorted(names),)
    return found
