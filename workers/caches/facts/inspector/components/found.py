"""A component as its ecosystem names it, and the texts that are taken from untrusted files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

T = TypeVar("T")

NAME_CHARS_MAX = 214  # npm's limit, the longest of them
VERSION_CHARS_MAX = 128
LICENCE_CHARS_MAX = 100
JSON_DEPTH_MAX = 100
_HEADER_CHARS_MAX = 4096
# It matches at each quote, to the end if there is no other, so that the time grows with the length alone.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


class Component(NamedTuple):
    """What the files name; the farm makes the package URL. ``extra`` is a qualifier: a gem's platform, for example."""

    kind: str  # a type of package URLs: "npm"
    name: str  # with its namespace: "@babel/core"
    version: str
    licence: str = ""
    extra: str = ""


class DamagedError(ValueError):
    """A file that names no component although it should; the text says why."""


def component(kind: str, name: Any, version: Any, licence: Any = "", extra: str = "") -> Component:
    """Raises DamagedError if a name or version is not a short, plain text."""
    if not _is_plain(name, NAME_CHARS_MAX) or not _is_plain(version, VERSION_CHARS_MAX):
        raise DamagedError("its name or version is not a plain text")
    if not all(name.split("/")):
        raise DamagedError("its name has an empty part")
    is_known = isinstance(licence, str) and licence.isprintable() and len(licence) <= LICENCE_CHARS_MAX
    return Component(kind, name, version, licence.strip() if is_known else "", extra)


def qualifiers(**values: str) -> str:
    """As in a query, without those that are not short, plain texts."""
    known = {key: value for key, value in values.items() if _is_plain(value, 250)}
    return "&".join(f"{key}={quote(value, safe='@+:~')}" for key, value in known.items())


def each(make: Callable[[T], Component], items: Iterable[T]) -> Iterator[Component | DamagedError]:
    """A component of each item, or why it has none: one that is damaged costs no other."""
    for one in items:
        try:
            yield make(one)
        except DamagedError as error:
            yield error


def read_json(content: bytes) -> Any:
    """Raises DamagedError if it is not JSON, or is nested too deep to be read in bounded memory."""
    depth = deepest = 0
    for one in re.findall(rb"[\[\]{}]", _STRING.sub(b"", content)):
        depth += 1 if one in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > JSON_DEPTH_MAX:
        raise DamagedError("it is nested too deep")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is not JSON") from error


def plain_path(name: str) -> str:
    """A path without anything that JSON cannot have or that a terminal would obey."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def fields(content: bytes) -> dict[str, list[str]]:
    """Headers as in RFC 822, up to the first empty line; names in lower case, a value with its further lines."""
    found: dict[str, list[str]] = {}
    values: list[str] = []
    for line in content.decode(errors="replace").splitlines():
        if not line.strip():
            break
        if line[0] in " \t":
            if values and len(values[-1]) < _HEADER_CHARS_MAX:  # a name is shorter
                values[-1] += f"\n{line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if colon:
            values = found.setdefault(name.strip().lower(), [])
            values.append(value.strip())
    return found


def first(found: dict[str, list[str]], name: str) -> str:
    """A header's first value; empty if there is none."""
    return next(iter(found.get(name, ())), "")


def _is_plain(text: Any, limit: int) -> bool:
    return isinstance(text, str) and 0 < len(text) <= limit and text.isprintable() and " " not in text
