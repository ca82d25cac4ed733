"""The components of one layer: a function of the layer alone. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from buildfarm.releases.facts.components.component import KINDS, Component
from buildfarm.releases.facts.layer import COMPONENTS_VERSION

PACKED_BYTES_MAX = 256 * 1024  # of a base's layer
APP_PACKED_BYTES_MAX = 64 * 1024  # of an app's: about 5,000 packages
IMAGE_COMPONENTS_MAX = 20_000  # of all layers of an image, its base's apart
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

    def hides(self, name: str) -> bool:
        """Whether it takes away this file of a lower layer; in time that grows with the name alone."""
        gone = self._gone
        if name in gone or "/" in gone:
            return True
        ends = (at for at, char in enumerate(name) if char == "/")
        return any(name[:end] in gone or name[: end + 1] in gone for end in ends)

    @cached_property
    def _gone(self) -> frozenset[str]:
        return frozenset(self.removed)

    def encode_unread(self) -> bytes:
        """Only what is not known of it."""
        told = {"version": COMPONENTS_VERSION, "files": {}, "removed": [], "unread": dict(self.unread)}
        return zlib.compress(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())


def check_size(packed: bytes, *, of_base: bool) -> None:
    """Raises ValueError if the list takes more of Redis than a layer's may."""
    limit = PACKED_BYTES_MAX if of_base else APP_PACKED_BYTES_MAX
    if len(packed) > limit:
        raise ValueError(f"the list of its components takes {len(packed):,} bytes, and {limit:,} are kept")


def decode(packed: bytes) -> LayerComponents:
    """Raises ValueError if it is not such a document, or is larger than a layer's may be."""
    check_size(packed, of_base=True)
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
    """Of several layers, the lowest first: an upper one hides files of the lower that it replaces or removes.

    An image has at most `IMAGE_COMPONENTS_MAX` components; those of the last files are declared as unread.
    """
    files: dict[str, tuple[Component, ...]] = {}
    unread: dict[str, str] = {}
    for layer in layers:
        if layer.removed:
            files = {name: found for name, found in files.items() if not layer.hides(name)}
        files.update(layer.files)
        for name, why in layer.unread.items():
            _note(unread, name, why)
    kept, left = _bounded(files)
    if left:
        _note(unread, "", f"{left:,} more components, since a list has at most {IMAGE_COMPONENTS_MAX:,}")
    return LayerComponents(kept, (), unread)


def _note(unread: dict[str, str], name: str, why: str) -> None:
    unread[name] = f"{unread[name]}; {why}" if not name and name in unread else why


def _bounded(files: Mapping[str, tuple[Component, ...]]) -> tuple[Mapping[str, tuple[Component, ...]], int]:
    """The first components by file, and how many are left out."""
    total = sum(map(len, files.values()))
    if total <= IMAGE_COMPONENTS_MAX:
        return files, 0
    kept, room = {}, IMAGE_COMPONENTS_MAX
    for name in sorted(files):
        kept[name] = files[name][:room]
        room -= len(kept[name])
    return kept, total - IMAGE_COMPONENTS_MAX


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
