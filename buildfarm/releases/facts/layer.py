"""The facts of one layer: what its files need and bring. A function of the layer alone. Pure.

A need or what is brought is a text, KIND:VALUE: ``lib:x86_64/libssl.so.3``, ``lib:x86_64/libc.so.6(GLIBC_2.38)``,
``path:/usr/bin/perl``, ``command:perl`` (found by the PATH; ``command:*`` is brought by a layer with very many),
``python:3.13``, ``ruby:3.3.0``, ``node:115``, ``php:20230831``, ``perl:5.40``, ``java:65`` (of class files),
``same:node`` (whatever version the base has), ``own:node`` (a program).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 2
COMPONENTS_VERSION = 1  # of the lists that are made at the same time: see `components.layer`
PACKED_BYTES_MAX = 40 * 1024  # of an app's layer
BASE_PACKED_BYTES_MAX = 4 * 1024 * 1024  # of a base's, which lists all of its files
_TEXT_BYTES_MAX = 64 * 1024 * 1024
_APP_TEXT_BYTES_MAX = 2 * 1024 * 1024
_PATH_CHARS_MAX = 4096
_NEED_CHARS_MAX = 512


@dataclass(frozen=True)
class Unread:
    """A layer without facts: its blob and what identifies its content."""

    digest: str
    size_bytes: int
    diff_id: str


@dataclass(frozen=True)
class LayerFacts:
    """What was found in a layer; with ``unknown``, the reason why not all of it is known."""

    needs: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # the first file with it, and how many have it
    brings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by file
    files: tuple[str, ...] = ()  # what is not below /app or /layers, folders apart
    links: Mapping[str, str] = field(default_factory=dict)  # the targets of those that are links
    removed: tuple[str, ...] = ()  # what it takes away of lower layers; "x/" is all that is in x
    unknown: str = ""

    @property
    def brought(self) -> frozenset[str]:
        """All that it brings."""
        return frozenset(one for found in self.brings.values() for one in found)

    def encode(self) -> bytes:
        """Equal facts have equal bytes."""
        document = {
            "version": VERSION, "needs": {need: list(where) for need, where in self.needs.items()},
            "brings": {name: list(what) for name, what in self.brings.items()}, "files": self.files,
            "links": dict(self.links), "removed": self.removed, "unknown": self.unknown,
        }  # fmt: skip
        # Names can have bytes that are not valid UTF-8.
        return zlib.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), 9)


def decode(packed: bytes, *, of_base: bool) -> LayerFacts:
    """Raises ValueError if it is no such document, or is larger than a layer of an app, or of a base, may have."""
    limit, text_limit = (BASE_PACKED_BYTES_MAX, _TEXT_BYTES_MAX) if of_base else (PACKED_BYTES_MAX, _APP_TEXT_BYTES_MAX)
    if len(packed) > limit:
        raise ValueError(f"there are {len(packed):,} bytes of facts, and {limit:,} are kept")
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, text_limit)
        if unpacker.unconsumed_tail:
            raise ValueError("there are more facts than are kept")
        if not unpacker.eof:
            raise ValueError("the facts are damaged: they are incomplete")
        return _layer(json.loads(text))
    except (zlib.error, KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"the facts are damaged: {type(error).__name__}") from error


def _layer(told: Any) -> LayerFacts:
    if told["version"] != VERSION:
        raise ValueError("another version of the farm wrote these facts")
    return LayerFacts(
        needs={_short(need): (_path(where[0]), _count(where[1])) for need, where in told["needs"].items()},
        brings={_path(name): tuple(_short(one) for one in what) for name, what in told["brings"].items()},
        files=tuple(_path(name) for name in told["files"]),
        links={_path(name): _path(target) for name, target in told["links"].items()},
        removed=tuple(_path(name) for name in told["removed"]),
        unknown=_path(told["unknown"]),
    )


def _path(text: Any) -> str:
    return _text(text, _PATH_CHARS_MAX)


def _short(text: Any) -> str:
    return _text(text, _NEED_CHARS_MAX)


def _text(text: Any, limit: int) -> str:
    if not isinstance(text, str) or len(text) > limit:
        raise TypeError
    return text


def _count(number: Any) -> int:
    if not isinstance(number, int):
        raise TypeError
    return number
