"""The components of one layer: a function of the layer alone. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.releases.facts.components.component import KINDS, Component
from buildfarm.releases.facts.layer import COMPONENTS_VERSION

PACKED_BYTES_MAX = 256 * 1024
_TEXT_BYTES_MAX = 16 * 1024 * 1024
_TEXT_CHARS_MAX = 2048
_COMPONENTS_MAX = 20_000
_FIELDS = 5  # of a component


@dataclass(frozen=True)
class LayerComponents:
    """Components by the file that names them; ``unread`` has files that name some which are not known, with reasons."""

    files: Mapping[str, tuple[Component, ...]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()  # what it takes away of lower layers; "x/" is all that is in x
    unread: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unknown(cls, why: str) -> LayerComponents:
        """Of a layer that could not be read."""
        return cls(unread={"": why[:_TEXT_CHARS_MAX]})

    def encode_unread(self) -> bytes:
        """Only what is not known of it."""
        told = {"version": COMPONENTS_VERSION, "files": {}, "removed": [], "unread": dict(self.unread)}
        return zlib.compress(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())


def decode(packed: bytes) -> LayerComponents:
    """Raises ValueError if it is not such a document, or is larger than a layer's may be."""
    if len(packed) > PACKED_BYTES_MAX:
        raise ValueError(f"its components take {len(packed):,} bytes, and {PACKED_BYTES_MAX:,} are kept")
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, _TEXT_BYTES_MAX)
        if not unpacker.eof:
            raise ValueError("the list of its components is incomplete or too long")
        told = json.loads(text)
        if told["version"] != COMPONENTS_VERSION:
            raise ValueError("another version of the farm wrote the list of its components")
        unread = {_text(name): _text(why) for name, why in told["unread"].items()}
        files = {_text(name): _components(name, found, unread) for name, found in told["files"].items()}
        if sum(map(len, files.values())) > _COMPONENTS_MAX:
            raise ValueError("it has too many components")
        return LayerComponents(files, tuple(map(_text, told["removed"])), unread)
    except (zlib.error, KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"the list of its components is damaged: {type(error).__name__}") from error


def merged(layers: Iterable[LayerComponents]) -> LayerComponents:
    """Of several layers, the lowest first: an upper one hides files of the lower that it replaces or removes."""
    files: dict[str, tuple[Component, ...]] = {}
    unread: dict[str, str] = {}
    for layer in layers:
        for gone in layer.removed:
            tree = gone if gone.endswith("/") else f"{gone}/"
            files = {name: found for name, found in files.items() if name != gone and not name.startswith(tree)}
        files.update(layer.files)
        for name, why in layer.unread.items():
            unread[name] = f"{unread[name]}; {why}" if not name and name in unread else why
    return LayerComponents(files, (), unread)


def _components(name: str, told: Any, unread: dict[str, str]) -> tuple[Component, ...]:
    """A file's; one without a package URL is left out, and the file noted as unread."""
    found = tuple(map(_component, told))
    kept = tuple(one for one in found if one.is_named)
    if len(kept) < len(found):
        unread.setdefault(name, "it names a component that has no package URL")
    return kept


def _component(told: Any) -> Component:
    if len(told) != _FIELDS:
        raise TypeError
    kind, name, version, licence, extra = map(_text, told)
    if kind not in KINDS or not name or not version:
        raise TypeError
    return Component(kind, name, version, licence, extra)


def _text(text: Any) -> str:
    if not isinstance(text, str) or len(text) > _TEXT_CHARS_MAX:
        raise TypeError
    return text
