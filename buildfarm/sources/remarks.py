"""Lines for a build's log about what a source has only in part: links out of it, LFS pointers, and submodules."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

from buildfarm.oci.tree import Found
from buildfarm.sources.gitfiles.config import parse
from buildfarm.sources.listing import printable

APP = "/app"

_NAMED_MAX = 5
_LOOKED_AT_MAX = 1000
# A pointer has three short lines, and rarely one more (git-lfs, "Git LFS Specification").
_POINTER_BYTES = range(100, 400)
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_MODULES = ".gitmodules"
_ASK = "To fetch it, set the credential of the repository with --lfs: docs/private-repositories.md."


def remarks(
    found: Sequence[Found],
    read: Callable[[str], bytes],
    link_target: Callable[[str], str | None],
    *,
    fetched: bool = False,
) -> Iterator[str]:
    """One line about each kind that occurs.

    ``found`` is the whole source, with the name of its folder before each path. ``read`` and ``link_target`` take a
    path without it: the content of a small file, and what a link points to. If a node has
    ``fetched`` the source by git, what is missing can be fetched too, and it has said so about submodules.
    """
    entries = {item.name.partition("/")[2]: item for item in found}
    if links := list(_links_out(entries, link_target)):
        yield f"Links lead out of the source, and what they point to is not part of it: {_some(links)}."
    if pointers := [path for path in _may_be_pointers(entries) if read(path).startswith(_POINTER)]:
        yield (
            f"Files are Git LFS pointers, without their content: {_some(pointers)}. "
            + (_ASK if fetched else "Run `git lfs pull`, and build the directory with `buildfarm build`.")
        )
    if not fetched and _MODULES in entries:
        yield from _about_submodules(entries, read(_MODULES))


def _links_out(entries: dict[str, Found], link_target: Callable[[str], str | None]) -> Iterator[str]:
    links = [path for path, item in entries.items() if item.shape.startswith("l")]
    for path in links[:_LOOKED_AT_MAX]:
        target = link_target(path)
        if target is not None and leads_out(path, target):
            yield f"{path} -> {target}"


def leads_out(path: str, target: str) -> bool:
    """Whether a link at this path of the app, with this target, leads out of the app."""
    place = posixpath.normpath(posixpath.join(APP, posixpath.dirname(path), target))
    return place != APP and not place.startswith(APP + "/")


def _may_be_pointers(entries: dict[str, Found]) -> list[str]:
    files = (path for path, item in entries.items() if item.shape.startswith("f"))
    return [path for path in files if entries[path].size_bytes in _POINTER_BYTES][:_LOOKED_AT_MAX]


def _about_submodules(entries: Iterable[str], modules: bytes) -> Iterator[str]:
    paths = [os.fsdecode(value).rstrip("/") for name, value in parse(modules) if _is_path_of_a_submodule(name)]
    filled = {posixpath.dirname(path) for path in entries}
    if absent := [path for path in paths if path not in filled]:
        yield (
            f"Submodules without their files: {_some(absent)}. "
            "Run `git submodule update --init --recursive`, and build the directory."
        )
    if present := [path for path in paths if path in filled]:
        yield f"Submodules are built with the files that were in their folders: {_some(present)}."


def _is_path_of_a_submodule(name: str) -> bool:
    return name.startswith("submodule.") and name.endswith(".path")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(printable(name) for name in names[:_NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")
