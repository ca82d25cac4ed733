"""Bracket expressions of git's patterns, such as ``[a-z]``: which bytes they stand for (wildmatch.c)."""

from __future__ import annotations

from collections.abc import Callable

_SLASH = ord("/")
_CLOSING = ord("]")
_BACKSLASH = ord("\\")


class NeverMatchesError(Exception):
    """The pattern is malformed: git accepts it, and it matches nothing."""


def _members(belongs: Callable[[str], bool]) -> frozenset[int]:
    return frozenset(code for code in range(128) if belongs(chr(code)))


# As git-compat-util.h defines them, whatever the locale.
_SPACE = " \t\n\r"
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": _members(str.isalnum),
    b"alpha": _members(str.isalpha),
    b"blank": _members(" \t".__contains__),
    b"cntrl": _members(lambda char: not char.isprintable()),
    b"digit": _members(str.isdigit),
    b"graph": _members(lambda char: char.isprintable() and char not in _SPACE),
    b"lower": _members(str.islower),
    b"print": _members(str.isprintable),
    b"punct": _members(lambda char: char.isprintable() and not char.isalnum() and char != " "),
    b"space": _members(_SPACE.__contains__),
    b"upper": _members(str.isupper),
    b"xdigit": _members("0123456789abcdefABCDEF".__contains__),
}


def bytes_of_set(glob: bytes, at: int, ignore_case: bool) -> tuple[frozenset[int], int]:
    """The bytes that a bracket expression stands for, and where the pattern goes on."""
    negated = byte_at(glob, at) in (b"!", b"^")
    at += negated
    chosen: set[int] = set()
    before: int | None = None  # a character that a range could begin with
    first = True
    while first or byte_at(glob, at)[0] != _CLOSING:
        first = False
        char = byte_at(glob, at)
        if char == b"-" and before is not None and glob[at + 1 : at + 2] not in (b"", b"]"):
            last, at = _escaped(glob, at + 1)
            chosen |= _range(before, last, ignore_case)
            before = None
        elif (named := _class_name(glob, at)) is not None:
            chosen |= _class(named, ignore_case)
            at += len(named) + 4
            before = None
        else:
            before, at = _escaped(glob, at)
            chosen.add(before)
    found = frozenset(range(256)) - chosen if negated else frozenset(chosen)
    return found - {_SLASH}, at + 1


def _escaped(glob: bytes, at: int) -> tuple[int, int]:
    """The byte here, or behind a backslash, and where the next one is."""
    at += byte_at(glob, at)[0] == _BACKSLASH
    return byte_at(glob, at)[0], at + 1


def _range(first: int, last: int, ignore_case: bool) -> set[int]:
    codes = set(range(first, last + 1))
    return codes | {code + 32 for code in codes if 65 <= code <= 90} if ignore_case else codes


def _class_name(glob: bytes, at: int) -> bytes | None:
    """The name in ``[:name:]``; None if this is not a class."""
    if glob[at : at + 2] != b"[:":
        return None
    end = glob.find(b"]", at + 2)
    if end < 0:
        raise NeverMatchesError
    return glob[at + 2 : end - 1] if end > at + 2 and glob[end - 1 : end] == b":" else None


def _class(name: bytes, ignore_case: bool) -> frozenset[int]:
    if name not in _CLASSES:
        raise NeverMatchesError
    return _CLASSES[name] | (_CLASSES[b"lower"] if ignore_case and name == b"upper" else frozenset())


def byte_at(glob: bytes, at: int) -> bytes:
    if at >= len(glob):
        raise NeverMatchesError
    return glob[at : at + 1]
