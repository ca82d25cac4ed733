"""Which apps contain a component, in their newest images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.layer import LayerComponents
from buildfarm.releases.facts.components.models import Place, Places
from buildfarm.releases.facts.components.store import ComponentStore, ImageLayers
from buildfarm.releases.facts.components.versions import VersionTextError
from buildfarm.store.tags import tag_targets

UNKNOWN_MAX = 100
_APPS = "apps/"


@dataclass(frozen=True)
class Search:
    """Raises StoreError. The layers' lists are searched as texts first: most do not name the component at all."""

    store: ComponentStore
    expression: Expression
    listed_max: int = UNKNOWN_MAX  # of apps that are not known wholly
    first_only: bool = False  # one place in an app's own layers and one in its base, not all of them
    _known: dict[str, LayerComponents] = field(default_factory=dict)

    def places(self, tenant: str | None, limit: int) -> Places:
        """Of a tenant's apps, or of all."""
        targets = {name: digest for name, digest in tag_targets(self.store.database).items() if _is_of(name, tenant)}
        images = self.store.images()
        layers = {name: _layers(images, name, digest) for name, digest in sorted(targets.items())}
        naming, unread, partly = self.store.naming(
            (one for found in layers.values() for one in found), self.expression.may_be_in
        )
        found, unknown, incomplete, lost = list[Place](), list[str](), list[str](), dict[str, None]()
        apps, uncompared = 0, 0
        for name, of_image in layers.items():
            image = images.get(name)
            if _is_lost(image, targets[name], images, unread):
                lost |= dict.fromkeys([name, *([image.base] if image and image.base else [])])
            if image is None or not _is_whole(image, targets[name], images) or unread & of_image.keys():
                unknown.append(name.removeprefix(_APPS))
            elif partly & of_image.keys():
                incomplete.append(name.removeprefix(_APPS))
            rows = self._rows(name, image, of_image) if image and naming & of_image.keys() else iter(())
            some = list(_first(rows) if self.first_only else rows)
            has_it = any(place.is_compared for place in some)
            apps += has_it
            uncompared += bool(some) and not has_it
            found += some[: limit - len(found)]
        if tenant is None:
            self.store.ask(lost)
        return Places(
            places=tuple(found), apps=apps, uncompared_apps=uncompared, searched=len(targets),
            unknown=tuple(unknown[: self.listed_max]), unknown_apps=len(unknown),
            incomplete=tuple(incomplete[: self.listed_max]), incomplete_apps=len(incomplete),
        )  # fmt: skip

    def _rows(self, name: str, image: ImageLayers, layers: Mapping[str, bool]) -> Iterator[Place]:
        # Of one app at a time: those of all would take gigabytes. Bases are few, and are kept.
        known = self.store.get(one for one in layers if one not in self._known)
        self._known.update((one, layer) for one, layer in known.items() if layers[one])
        for in_base, diff_id, path, component in _seen(layers, self._known | known):
            try:
                is_one, is_compared = self.expression.matches(component), True
            except VersionTextError:
                is_one, is_compared = True, False
            if is_one:
                yield Place(
                    app=name.removeprefix(_APPS), image=image.digest, component=f"{component.kind}/{component.name}",
                    version=component.version, is_compared=is_compared, path=f"/{path}", in_base=in_base,
                    base=image.base, since=image.base_since if in_base else image.layers.get(diff_id, 0.0),
                )  # fmt: skip


def _first(rows: Iterable[Place]) -> Iterator[Place]:
    """The first of an app's own layers, and the first of its base."""
    seen = set[bool]()
    for place in rows:
        if place.in_base not in seen:
            seen.add(place.in_base)
            yield place
        if len(seen) == 2:
            return


def _seen(
    layers: Mapping[str, bool], known: Mapping[str, LayerComponents]
) -> Iterator[tuple[bool, str, str, Component]]:
    """What of its layers, the base's first, is seen through all."""
    seen: dict[str, tuple[bool, str, tuple[Component, ...]]] = {}
    for diff_id, in_base in layers.items():
        layer = known.get(diff_id, LayerComponents())
        if layer.removed:
            seen = {path: row for path, row in seen.items() if not layer.hides(path)}
        seen |= {path: (in_base, diff_id, found) for path, found in layer.files.items()}
    for path, (in_base, diff_id, found) in sorted(seen.items()):
        yield from ((in_base, diff_id, path, component) for component in found)


def _is_whole(image: ImageLayers, digest: str, images: Mapping[str, ImageLayers]) -> bool:
    """Whether all of its layers are known by their diff IDs."""
    base = images.get(image.base)
    return image.digest == digest and bool(image.layers) and (not image.base or bool(base and base.layers))


def _is_lost(image: ImageLayers | None, digest: str, images: Mapping[str, ImageLayers], unread: Set[str]) -> bool:
    """Whether the node that looks for images could know more of it, and does not look by itself: it has seen it."""
    if image is None:
        return True
    if image.digest != digest or not image.layers:  # it is new, or has no layers that can be read
        return False
    base = images.get(image.base)
    return bool((image.base and (base is None or unread & base.layers.keys())) or unread & image.layers.keys())


def _layers(images: Mapping[str, ImageLayers], name: str, digest: str) -> dict[str, bool]:
    """Layers of an app's image, and whether they are its base's; empty if another image is known."""
    image = images.get(name)
    if image is None or image.digest != digest:
        return {}
    base = images.get(image.base)
    return {**dict.fromkeys(base.layers if base else (), True), **dict.fromkeys(image.layers, False)}


def _is_of(name: str, tenant: str | None) -> bool:
    return name.startswith(_APPS if tenant is None else f"{_APPS}{tenant}/")
