"""What a base has for its apps: the facts of its layers, one over another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildfarm.releases.facts.layer import LayerFacts

_LINKS_MAX = 40  # as the kernel has it
_COMMANDS = re.compile(r"(?:usr/)?(?:local/)?s?bin/([^/]+)")


@dataclass(frozen=True)
class BaseFacts:
    """Everything in it; ``unknown`` says why something is missing."""

    brings: frozenset[str]
    files: frozenset[str]  # without a slash in front
    folders: frozenset[str]
    links: Mapping[str, str]
    commands: frozenset[str] = frozenset()  # those of the usual PATH
    unknown: str = ""

    @classmethod
    def of(cls, layers: Iterable[LayerFacts]) -> BaseFacts:
        """``layers`` are in order, the lowest first. An upper one hides what it replaces or removes."""
        brings: dict[str, tuple[str, ...]] = {}
        links: dict[str, str] = {}
        files: set[str] = set()
        unknown = ""
        for layer in layers:
            for gone in _hidden(layer, files | brings.keys()):
                files.discard(gone)
                links.pop(gone, None)
                brings.pop(gone, None)
            files.update(layer.files)
            links.update(layer.links)
            brings.update(layer.brings)
            # A damaged file in a base is one that no app loads. Of a layer that could not be read there is nothing.
            unknown = unknown or ("" if layer.files else layer.unknown)
        return cls(frozenset(one for what in brings.values() for one in what), frozenset(files),
                   frozenset(_folders(files)), links, frozenset(commands(files)), unknown)  # fmt: skip

    def has(self, need: str) -> bool:
        """Whether it meets a need. One of ``same:`` is about two bases, and is not met by one."""
        kind, _, value = need.partition(":")
        if kind == "path":
            return self.has_path(value)
        if kind == "command":
            return value in self.commands
        return need in self.brings or (kind == "java" and java_runs(self.brings, need))

    def has_path(self, path: str) -> bool:
        """Whether a file or folder is there, also through links."""
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                del done[-1:]
                continue
            at = "/".join([*done, part])
            if (target := self.links.get(at)) is None:
                done.append(part)
                continue
            if (links := links + 1) > _LINKS_MAX:
                return False
            done = [] if target.startswith("/") else done
            left += [step for step in reversed(target.split("/")) if step not in ("", ".")]
        found = "/".join(done)
        return found in self.files or found in self.folders


def commands(files: Iterable[str]) -> set[str]:
    """The commands among these files."""
    return {found[1] for name in files if (found := _COMMANDS.fullmatch(name))}


def java_runs(brings: Iterable[str], need: str) -> bool:
    """Whether a Java among these runs class files of this version."""
    wanted = int(need.partition(":")[2])
    return any(one.startswith("java:") and int(one[5:]) >= wanted for one in brings)


def _hidden(layer: LayerFacts, below: set[str]) -> set[str]:
    # A folder in the place of a file or a link hides it.
    gone = below.intersection(layer.files) | below.intersection(_folders(layer.files))
    trees = tuple(one if one.endswith("/") else f"{one}/" for one in layer.removed)
    # A file in the place of a folder hides all that was in it.
    replaced = tuple(f"{name}/" for name in set(layer.files) & _folders(below))
    gone |= below.intersection(layer.removed)
    if prefixes := (*trees, *replaced):
        gone |= {name for name in below if name.startswith(prefixes)}
    return gone


def _folders(files: Iterable[str]) -> set[str]:
    found: set[str] = {""}
    for name in files:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
