"""A component as its ecosystem names it, and the texts that are taken from untrusted files."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

NAME_CHARS_MAX = 214  # npm's limit, the longest of them
VERSION_CHARS_MAX = 128
LICENCE_CHARS_MAX = 100
JSON_DEPTH_MAX = 100


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
    is_known = isinstance(licence, str) and licence.isprintable() and len(licence) <= LICENCE_CHARS_MAX
    return Component(kind, name, version, licence.strip() if is_known else "", extra)


def read_json(content: bytes) -> Any:
    """Raises DamagedError if it is not JSON, or is nested too deep to be read in bounded memory."""
    depth = deepest = 0
    for one in re.findall(rb"[\[\]{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", content)):
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
            if values:
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
