"""Needs of files, and texts of tenants, as people read them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_TEXT_CHARS_MAX = 160
_NAMES = {"python": "Python", "ruby": "Ruby", "php": "the PHP API", "perl": "Perl", "node": "Node's module version",
          "glibc": "the C library"}  # fmt: skip


def words(need: str, base: Iterable[str]) -> str:
    """A need in words; ``base`` is what the app's base brings."""
    kind, _, value = need.partition(":")
    if kind == "same":
        mine = sorted(one.partition(":")[2] for one in base if one.startswith(f"{value}:"))
        return f"exactly {_NAMES.get(value, value)} {', '.join(mine)}"
    if kind == "lib":
        library, bracket, version = value.partition("/")[2].partition("(")
        return shown(library) + (f" with {shown(version[:-1])}" if bracket else "")
    if kind == "java":
        return f"Java {int(value) - 44} or newer"
    if kind == "command":
        return f"the command {shown(value)}"
    return f"{_NAMES[kind]} {shown(value)}" if kind in _NAMES else shown(value)


def shown(text: str) -> str:
    """Text of a tenant for a sentence: short, and without anything that a terminal would obey."""
    short = text if len(text) <= _TEXT_CHARS_MAX else f"{text[:60]}…{text[-90:]}"
    return ascii(short)[1:-1] if not short.isascii() or not short.isprintable() else short
