"""Which layer a file belongs to: a pure function of the tree and of what came in with the source.

From the bottom up: each big folder at the top that the buildpacks made, what else they made, and the source. So a
change of code moves only code, and a rebuilt front end only the source and its own output. No history is needed: the
same tree has the same layers, whichever node builds it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from buildfarm.oci.tree import Found

SOURCE = "source"
MADE = "made"


@dataclass(frozen=True)
class PlannedLayer:
    """A layer to be: where its files come from, and its entries, each folder before what is in it."""

    origin: str
    found: tuple[Found, ...]


def plan_layers(
    found: Sequence[Found], source: Set[str], *, min_bytes: int, layers_max: int
) -> tuple[PlannedLayer, ...]:
    """The layers of a tree from the bottom up, at most ``layers_max``; the last one is the source's, even if empty.

    ``found`` is the tree as `oci.tree.scan` gives it, its root first; ``source`` are names of the same form. A folder
    that buildpacks made at the top is a layer of its own from ``min_bytes`` on; where there are too many, the smallest
    join what else was made.
    """
    root, *rest = found
    if layers_max == 1:
        return (PlannedLayer(SOURCE, tuple(found)),)
    groups: dict[str, list[Found]] = {MADE: [], SOURCE: []}
    shared = _shared_folders(root.name, rest)
    for item in rest:
        groups.setdefault(_group(item.name, root.name, source, shared), []).append(item)
    folders = sorted(set(groups) - {MADE, SOURCE}, key=lambda name: (-_bytes(groups[name]), name))
    own = [name for name in folders if _bytes(groups[name]) >= min_bytes][: layers_max - 2]
    for name in folders:
        if name not in own:
            groups[MADE] += groups[name]
    by_name = {item.name: item for item in found}
    order = {item.name: number for number, item in enumerate(found)}
    layers = [PlannedLayer(name, _with_folders(groups[name], by_name, root)) for name in sorted(own)]
    if groups[MADE]:
        made = sorted(groups[MADE], key=lambda item: order[item.name])
        layers.append(PlannedLayer(MADE, _with_folders(made, by_name, root)))
    return (*layers, PlannedLayer(SOURCE, _with_folders(groups[SOURCE], by_name, root)))


def _group(name: str, root: str, source: Set[str], shared: Set[str]) -> str:
    if name in source:
        return SOURCE
    top, _, below = name.removeprefix(f"{root}/").partition("/")
    if f"{root}/{top}" in source:
        return MADE
    if top in shared:
        inner = below.partition("/")[0]
        return f"{top}/{inner}" if inner else MADE
    # A folder's own entry has nothing below it, and belongs to the folder all the same.
    return top


def _shared_folders(root: str, items: Sequence[Found]) -> Set[str]:
    """Hidden folders at the top that hold folders and nothing else, as several buildpacks leave theirs in one."""
    folders: dict[str, int] = {}
    mixed: set[str] = set()
    for item in items:
        parts = item.name.removeprefix(f"{root}/").split("/")
        if len(parts) == 2 and parts[0].startswith("."):
            if item.is_folder:
                folders[parts[0]] = folders.get(parts[0], 0) + 1
            else:
                mixed.add(parts[0])
    return {name for name, count in folders.items() if count > 1} - mixed


def _bytes(items: Sequence[Found]) -> int:
    return sum(item.status.st_size for item in items if not item.is_folder)


def _with_folders(items: Sequence[Found], by_name: dict[str, Found], root: Found) -> tuple[Found, ...]:
    """The items in their order, and before each the folders it is in: a layer must say how its folders are."""
    placed: dict[str, Found] = {root.name: root}
    for item in items:
        missing = []
        parent = item.name.rpartition("/")[0]
        while parent not in placed:
            missing.append(by_name[parent])
            parent = parent.rpartition("/")[0]
        placed.update((folder.name, folder) for folder in reversed(missing))
        placed[item.name] = item
    return tuple(placed.values())
