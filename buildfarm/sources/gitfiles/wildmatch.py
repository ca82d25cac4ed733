"""git's glob patterns as regular expressions over bytes (wildmatch.c with WM_PATHNAME).

git compares bytes: ``?`` is one byte of a UTF-8 character, and letters outside ASCII have no case.

Patterns and names may be anybody's, so no pattern may take exponential time. Each star is in an atomic group with what
stands between it and the next one: the first place where that matches leaves the most to the next star, so no other
place is tried. Of ``*`` the group ends with the component too, as another place would end at the same slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from buildfarm.sources.gitfiles.brackets import NeverMatchesError, byte_at, bytes_of_set

SPECIAL = b"*?[\\"

_SLASH = ord("/")
_WITHIN = b"[^/]*?"  # *
_BELOW = b"(?:.*?/)??"  # **/
_ALL = b".*?"  # ** at the end


def compile_glob(glob: bytes, *, ignore_case: bool = False) -> re.Pattern[bytes] | None:
    """The pattern that a whole text must match, or None if it is malformed and so matches nothing.

    With ``ignore_case`` the text must be in lower case. As in ignore files, what stands before the first special
    character is compared by itself, so stars behind it are at the beginning of a pattern (dir.c, match_pathname).
    """
    try:
        return re.compile(b"".join(_committed(_pieces(glob, ignore_case))), re.DOTALL)
    except NeverMatchesError:
        return None


def _committed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, with each star in an atomic group: those of ``*`` are inside of those of ``**``."""
    inner, outer = b"", b""  # what ends the open groups
    for piece in pieces:
        if piece == _WITHIN:
            yield inner + b"(?>" + piece
            inner = b")"
        elif piece in (_BELOW, _ALL):
            yield inner + outer + b"(?>" + piece
            inner, outer = b"", b")"
        else:
            yield piece
            if piece == b"/":
                yield inner
                inner = b""
    yield rb"\Z" + inner + outer


def _pieces(glob: bytes, ignore_case: bool) -> Iterator[bytes]:
    at = 0
    first = next((place for place, char in enumerate(glob) if char in SPECIAL), 0)
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            piece, at = _stars(glob, at, first)
            yield piece
        elif char == b"[":
            chosen, at = bytes_of_set(glob, at + 1, ignore_case)
            yield _set(chosen)
        elif char == b"\\":
            yield re.escape(byte_at(glob, at + 1))
            at += 2
        else:
            yield b"[^/]" if char == b"?" else re.escape(char.lower() if ignore_case else char)
            at += 1


def _set(chosen: Iterable[int]) -> bytes:
    """As ranges: a negated set of one byte would otherwise take a thousand times the space of its pattern."""
    ranges: list[tuple[int, int]] = []
    for code in sorted(chosen):
        begin = ranges.pop()[0] if ranges and ranges[-1][1] == code - 1 else code
        ranges.append((begin, code))
    return b"[" + b"".join(b"\\x%02x-\\x%02x" % pair for pair in ranges) + b"]" if ranges else b"(?!)"


def _stars(glob: bytes, start: int, first: int) -> tuple[bytes, int]:
    """``**`` crosses slashes only as a whole component; anywhere else it is ``*``."""
    end = start
    while glob[end : end + 1] == b"*":
        end += 1
    behind = glob[end:]
    begins = start == first or glob[start - 1] == _SLASH
    if end - start < 2 or not begins or not (not behind or behind.startswith((b"/", b"\\/"))):
        return _WITHIN, end
    if behind.startswith(b"/"):
        return _BELOW, end + 1
    return _ALL, end
