"""git's glob patterns as regular expressions over bytes (wildmatch.c with WM_PATHNAME).

git compares bytes: ``?`` is one byte of a UTF-8 character, and letters outside ASCII have no case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildfarm.sources.gitfiles.brackets import NeverMatchesError, byte_at, bytes_of_set

SPECIAL = b"*?[\\"

_SLASH = ord("/")


def compile_glob(glob: bytes, *, ignore_case: bool = False) -> re.Pattern[bytes] | None:
    """The pattern that a whole text must match, or None if it is malformed and so matches nothing.

    With ``ignore_case`` the text must be in lower case.
    """
    try:
        return re.compile(b"".join(_pieces(glob, ignore_case)), re.DOTALL)
    except NeverMatchesError:
        return None


def _pieces(glob: bytes, ignore_case: bool) -> Iterator[bytes]:
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            piece, at = _stars(glob, at)
            yield piece
        elif char == b"[":
            chosen, at = bytes_of_set(glob, at + 1, ignore_case)
            yield b"[" + b"".join(b"\\x%02x" % code for code in sorted(chosen)) + b"]" if chosen else b"(?!)"
        elif char == b"\\":
            yield re.escape(byte_at(glob, at + 1))
            at += 2
        else:
            yield b"[^/]" if char == b"?" else re.escape(char.lower() if ignore_case else char)
            at += 1


def _stars(glob: bytes, start: int) -> tuple[bytes, int]:
    """``**`` crosses slashes only as a whole component; anywhere else it is ``*``."""
    end = start
    while glob[end : end + 1] == b"*":
        end += 1
    behind = glob[end:]
    begins = start == 0 or glob[start - 1] == _SLASH
    if end - start < 2 or not begins or not (not behind or behind.startswith((b"/", b"\\/"))):
        return b"[^/]*", end
    if behind.startswith(b"/"):
        return b"(?:.*/)?", end + 1
    return b".*", end
