"""Which layer a file belongs to: a pure function of the tree and of what came in with the source.

From the bottom up: each big folder at the top that the buildpacks made, what else they made, and the source. So a
change of code moves only code, and a rebuilt front end only the source and its own output. No history is needed: the
same tree has the same layers, whichever node builds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
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
    sizes = {name: _bytes(items) for name, items in groups.items() if name not in (MADE, SOURCE)}
    by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
    own = [name for name in by_size if sizes[name] >= min_bytes][: layers_max - 2]
    small = [item for name in sizes if name not in own for item in groups[name]]
    if small:
        order = {item.name: number for number, item in enumerate(rest)}
        groups[MADE] = sorted([*groups[MADE], *small], key=lambda item: order[item.name])
    folders = {item.name: item for item in found if item.is_folder}
    layers = [PlannedLayer(name, _with_folders(groups[name], folders, root)) for name in sorted(own)]
    if groups[MADE]:
        layers.append(PlannedLayer(MADE, _with_folders(groups[MADE], folders, root)))
    return (*layers, PlannedLayer(SOURCE, _with_folders(groups[SOURCE], folders, root)))


def _group(name: str, root: str, source: Set[str], shared: Set[str]) -> str:
    if name in source:
        return SOURCE
    top, _, below = name[len(root) + 1 :].partition("/")
    if top in shared:
        inner = below.partition("/")[0]
        return f"{top}/{inner}" if inner else MADE
    # A folder's own entry has nothing below it, and belongs to the folder all the same.
    return MADE if f"{root}/{top}" in source else top


def _shared_folders(root: str, items: Sequence[Found]) -> Set[str]:
    """Hidden folders at the top that hold folders and nothing else, as several buildpacks leave theirs in one."""
    folders: dict[str, int] = {}
    mixed: set[str] = set()
    hidden = f"{root}/."
    for item in items:
        if item.name.startswith(hidden) and item.name.count("/") == 2:
            top = item.name.split("/")[1]
            if item.is_folder:
                folders[top] = folders.get(top, 0) + 1
            else:
                mixed.add(top)
    return {name for name, count in folders.items() if count > 1} - mixed


def _bytes(items: Sequence[Found]) -> int:
    return sum(item.size_bytes for item in items)


def _with_folders(items: Sequence[Found], folders: Mapping[str, Found], root: Found) -> tuple[Found, ...]:
    """The items in their order, and before each the folders it is in: a layer must say how its folders are."""
    placed = [root]
    known = {root.name}
    for item in items:
        if item.is_folder:
            known.add(item.name)
        parent = item.name.rpartition("/")[0]
        if parent not in known:
            missing = []
            while parent not in known:
                missing.append(folders[parent])
                known.add(parent)
                parent = parent.rpartition("/")[0]
            placed += reversed(missing)
        placed.append(item)
    return tuple(placed)
