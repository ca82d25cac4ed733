"""The layers of an app, without listing folders that are known to be what an earlier build had.

A folder is closed, which is to say not listed, only if a complete listing found that it is a separate layer: then the
plan is the same as with all of its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from buildfarm.oci.tree import content_bytes
from workers.export.app_files import AppFiles, Listed, MadeFrom, refuse_too_large
from workers.export.fingerprint import Recent, shape_of
from workers.export.layering import PlannedLayer, plan_layers
from workers.export.path_rules import refuse_unfit


@dataclass(frozen=True)
class Planner:
    """Plans the layers of one node's apps.

    ``sizes`` are the bytes of folders that may be closed, by what identifies them and where they are: a hidden folder
    is divided in another way.
    """

    salt: str
    min_bytes: int
    layers_max: int
    image_bytes: int
    sizes: Recent[int] = field(default_factory=Recent)

    def plan(self, app: AppFiles) -> tuple[MadeFrom, ...]:
        """From the bottom up. Raises TooLargeError, CompileError if an image cannot hold a file, and NodeError.

        The listing is freed on return; freeing 25,000 entries at the end of an export cost 5 ms.
        """
        may_close = app.may_close()
        closed = {
            name: size for name, which in may_close.items() if (size := self.sizes.get(f"{which} {name}")) is not None
        }
        planned = self._planned(app, closed)
        if not closed.keys() <= {layer.folder for layer in planned}:
            closed = {}
            planned = self._planned(app, closed)
        refuse_too_large([layer.found for layer in planned], self.image_bytes)
        made = []
        for layer in planned:
            which = may_close.get(layer.folder, "")
            if layer.folder in closed:
                made.append(self._closed(app, layer, which))
            elif which:
                self.sizes.put(f"{which} {layer.folder}", content_bytes(layer.found))
                made.append(replace(MadeFrom.of(app, layer, self.salt), identity=self._identity(layer, which)))
            else:
                made.append(MadeFrom.of(app, layer, self.salt))
        return tuple(made)

    def _planned(self, app: AppFiles, closed: Mapping[str, int]) -> tuple[PlannedLayer, ...]:
        top = f"{app.root.name}/"
        found = app.root.scan([name.removeprefix(top) for name in closed]).found
        if closed:
            found = [item._replace(size_bytes=closed.get(item.name, item.size_bytes)) for item in found]
        if app.left_out:
            found = [item for item in found if item.name not in app.left_out]
        refuse_unfit(found)
        return plan_layers(found, app.source_names, min_bytes=self.min_bytes, layers_max=self.layers_max)

    def _closed(self, app: AppFiles, layer: PlannedLayer, which: str) -> MadeFrom:
        return MadeFrom(layer.origin, b"", self._identity(layer, which), partial(self._listed, app, layer.folder))

    def _listed(self, app: AppFiles, folder: str) -> Listed:
        """The files of a closed folder after all: its layer was forgotten, or is to be searched."""
        layer = next(layer for layer in self._planned(app, {}) if layer.folder == folder)
        return MadeFrom.of(app, layer, self.salt).list_files()

    def _identity(self, layer: PlannedLayer, which: str) -> str:
        """What identifies the files in it, and how the folder is and those that it is in."""
        above = layer.folder.count("/") + 1
        return f"{which} {shape_of(layer.found[:above], b'', self.salt)}"
