"""Pointers of Git LFS. Pure. Source: github.com/git-lfs/git-lfs, "Git LFS Specification" (spec.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass

BYTES_MAX = 1024
_POINTER = re.compile(
    # The other two are of the time before version 1; git-lfs reads them.
    rb"version (https://git-lfs\.github\.com/spec/v1|https://hawser\.github\.com/spec/v1|http://git-media\.io/v/2)\r?\n"
    rb"(?P<extensions>(ext-[0-9]-[^\n]*\n)*)"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\r?\nsize (?P<size>[0-9]{1,18})\s*"
)


@dataclass(frozen=True)
class Pointer:
    """The content of a file."""

    oid: str  # its SHA-256
    size: int


def parse(text: bytes) -> Pointer | None:
    """The pointer that a file is; None if it is not one. Raises ValueError if only a program can make its content."""
    found = _POINTER.fullmatch(text) if len(text) <= BYTES_MAX else None
    if found is None:
        return None
    if found["extensions"]:
        raise ValueError("its content is made by an extension of Git LFS")
    return Pointer(found["oid"].decode(), int(found["size"]))
