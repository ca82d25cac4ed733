"""Which layer a file belongs to: a pure function of the tree and of what came in with the source.

From the bottom up: each big folder at the top that the buildpacks made, what else they made, and the source. So a
change of code moves only code, and a rebuilt front end only the source and its own output. No history is needed: the
same tree has the same layers, whichever node builds it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from buildfarm.oci.tree import Found, content_bytes

SOURCE = "source"
MADE = "made"


@dataclass(frozen=True)
class PlannedLayer:
    """A layer to be: where its files come from, and its entries, each folder before what is in it."""

    origin: str
    found: tuple[Found, ...]
    folder: str = ""  # the entries are this folder with all that is in it, and the folders it is in


def plan_layers(
    found: Sequence[Found], source: Set[str], *, min_bytes: int, layers_max: int
) -> tuple[PlannedLayer, ...]:
    """The layers of a tree from the bottom up, at most ``layers_max``; the last one is the source's, even if empty.

    ``found`` is the tree as `oci.tree.scan` gives it, its root first; ``source`` are names of the same form, each with
    the folders it is in. A folder that buildpacks made at the top is its own layer from ``min_bytes`` on; where
    there are too many, the smallest join what else was made.
    """
    if layers_max == 1:
        return (PlannedLayer(SOURCE, tuple(found)),)
    sizes = {at: content_bytes(found[at : _end(found, at)]) for at in _made_folders(found, source)}
    by_size = sorted(sizes, key=lambda at: (-sizes[at], found[at].name))
    own = sorted(at for at in by_size[: layers_max - 2] if sizes[at] >= min_bytes)
    rest: dict[str, list[Found]] = {MADE: [], SOURCE: []}
    at = 1
    for folder in [*own, len(found)]:
        for item in found[at:folder]:
            rest[SOURCE if item.name in source else MADE].append(item)
        at = _end(found, folder) if folder < len(found) else at
    folders = {item.name: item for item in found if item.is_folder}
    layers = [_whole(found, at, folders) for at in own]
    covered = {name for layer in layers for name in _parents(layer.folder)}
    # A folder that contains only separate layers is described by them.
    rest[MADE] = [item for item in rest[MADE] if item.name not in covered]
    if rest[MADE]:
        layers.append(PlannedLayer(MADE, _with_folders(rest[MADE], folders, found[0])))
    return (*layers, PlannedLayer(SOURCE, _with_folders(rest[SOURCE], folders, found[0])))


def _made_folders(found: Sequence[Found], source: Set[str]) -> Iterator[int]:
    """Where in the tree these folders are."""
    for top in _children(found, 0):
        item = found[top]
        if not item.is_folder or item.name in source:
            continue
        inside = list(_children(found, top)) if item.name.rpartition("/")[2].startswith(".") else []
        # A hidden folder that holds folders and nothing else: several buildpacks leave theirs in it.
        if len(inside) > 1 and all(found[at].is_folder for at in inside):
            yield from inside
        else:
            yield top


def _children(found: Sequence[Found], folder: int) -> Iterator[int]:
    end = _end(found, folder)
    at = folder + 1
    while at < end:
        yield at
        at = _end(found, at)


def _end(found: Sequence[Found], at: int) -> int:
    """Where the entries end that are in this one: they stand right behind it."""
    inside = f"{found[at].name}/"
    return bisect_left(found, True, lo=at + 1, key=lambda item: not item.name.startswith(inside))


def _whole(found: Sequence[Found], at: int, folders: Mapping[str, Found]) -> PlannedLayer:
    """A folder as a layer, with the folders it is in before it."""
    name = found[at].name
    origin = name.partition("/")[2]
    parents = tuple(folders[parent] for parent in _parents(name))
    return PlannedLayer(origin, (*parents, *found[at : _end(found, at)]), name)


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _with_folders(items: Sequence[Found], folders: Mapping[str, Found], root: Found) -> tuple[Found, ...]:
    """The items in their order, and before each the folders it is in: a layer must say how its folders are."""
    placed = [root]
    known = {root.name}
    for item in items:
        if item.name.rpartition("/")[0] not in known:
            missing = [name for name in _parents(item.name) if name not in known]
            placed += [folders[name] for name in missing]
            known.update(missing)
        placed.append(item)
        if item.is_folder:
            known.add(item.name)
    return tuple(placed)
