"""What is found below a folder of a source, by git or by our own walk."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ignored:
    """An entry that is left out, and the rule that says so."""

    name: bytes  # a folder's ends with a slash; empty for the folder that was listed
    origin: str  # the ignore file
    rule: str  # its line; may be empty


@dataclass(frozen=True)
class Listing:
    """Paths relative to the folder that was listed."""

    files: frozenset[bytes]  # and links; what git tracks may be gone from the disk, or be a folder now
    nested: frozenset[bytes] = frozenset()  # folders that are repositories of their own
    ignored: tuple[Ignored, ...] = ()


def printable(text: str) -> str:
    """The text for a terminal or a log: control characters and bytes that are not UTF-8 are shown as escapes."""
    shown = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)
