"""Which apps contain a component, in their newest images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.layer import LayerComponents
from buildfarm.releases.facts.components.models import Place, Places
from buildfarm.releases.facts.components.store import ComponentStore, ImageLayers
from buildfarm.store.tags import tag_targets

UNKNOWN_MAX = 100
_APPS = "apps/"


@dataclass(frozen=True)
class Search:
    """Raises StoreError. The layers' lists are searched as texts first: most do not name the component at all."""

    store: ComponentStore
    expression: Expression
    _known: dict[str, LayerComponents] = field(default_factory=dict)

    def places(self, tenant: str | None, limit: int) -> Places:
        """Of a tenant's apps, or of all."""
        targets = {name: digest for name, digest in tag_targets(self.store.database).items() if _is_of(name, tenant)}
        images = self.store.images()
        layers = {name: _layers(images, name, digest) for name, digest in sorted(targets.items())}
        naming, unread, partly = self.store.naming(
            (one for found in layers.values() for one in found), self.expression.needles
        )
        found, unknown, apps, is_lost = list[Place](), list[str](), 0, False
        incomplete = list[str]()
        for name, of_image in layers.items():
            image = images.get(name)
            if image is None or not of_image or (image.base and image.base not in images) or unread & of_image.keys():
                unknown.append(name.removeprefix(_APPS))
                # A new image is looked at within half a minute anyway.
                is_lost = is_lost or image is None or image.digest == targets[name]
            elif partly & of_image.keys():
                incomplete.append(name.removeprefix(_APPS))
            rows = list(self._rows(name, image, of_image)) if image and naming & of_image.keys() else []
            apps += bool(rows)
            found += rows[: max(0, limit - len(found))]
        if is_lost and tenant is None:
            self.store.ask()
        if tenant is None:
            # Rows of bases stay: apps may move to one that no app stands on yet.
            self.store.drop_images(name for name in images if name.startswith(_APPS) and name not in targets)
        return Places(
            places=tuple(found), apps=apps, searched=len(targets), unknown=tuple(unknown[:UNKNOWN_MAX]),
            unknown_apps=len(unknown), incomplete=tuple(incomplete[:UNKNOWN_MAX]), incomplete_apps=len(incomplete),
        )  # fmt: skip

    def _rows(self, name: str, image: ImageLayers, layers: Mapping[str, bool]) -> Iterator[Place]:
        # Of one app at a time: those of all would take gigabytes. Bases are few, and are kept.
        known = self.store.get(one for one in layers if one not in self._known)
        self._known.update((one, layer) for one, layer in known.items() if layers[one])
        for in_base, diff_id, path, component in self._matches(layers, self._known | known):
            yield Place(
                app=name.removeprefix(_APPS), image=image.digest, component=f"{component.kind}/{component.name}",
                version=component.version, path=f"/{path}", in_base=in_base, base=image.base,
                since=image.base_since if in_base else image.layers.get(diff_id, 0.0),
            )  # fmt: skip

    def _matches(
        self, layers: Mapping[str, bool], known: Mapping[str, LayerComponents]
    ) -> Iterator[tuple[bool, str, str, Component]]:
        """What of its layers, the base's first, is seen through all."""
        seen: dict[str, tuple[bool, str, tuple[Component, ...]]] = {}
        for diff_id, in_base in layers.items():
            layer = known.get(diff_id, LayerComponents())
            for gone in layer.removed:
                tree = gone if gone.endswith("/") else f"{gone}/"
                seen = {path: row for path, row in seen.items() if path != gone and not path.startswith(tree)}
            seen |= {path: (in_base, diff_id, found) for path, found in layer.files.items()}
        for path, (in_base, diff_id, found) in sorted(seen.items()):
            for component in found:
                if self.expression.matches(component):
                    yield in_base, diff_id, path, component


def _layers(images: Mapping[str, ImageLayers], name: str, digest: str) -> dict[str, bool]:
    """Layers of an app's image, and whether they are its base's; empty if another image is known."""
    image = images.get(name)
    if image is None or image.digest != digest:
        return {}
    base = images.get(image.base)
    return {**dict.fromkeys(base.layers if base else (), True), **dict.fromkeys(image.layers, False)}


def _is_of(name: str, tenant: str | None) -> bool:
    return name.startswith(_APPS if tenant is None else f"{_APPS}{tenant}/")
