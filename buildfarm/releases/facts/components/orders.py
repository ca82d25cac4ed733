"""Orders of versions that no library has: of Perl's distributions, and of runtimes that buildpacks install. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_PERL = re.compile(r"(v?)(\d+(?:\.\d+)*)(?:-TRIAL\d*)?")
_RUNTIME = re.compile(r"v?(\d+(?:[._]\d+)*)([^+\s]*)(?:\+\S*)?")  # what follows a + names a build


class Key(NamedTuple):
    """Compared part by part. A version with a suffix, such as rc1 or -ea, is older than the one without."""

    numbers: tuple[int, ...]
    is_final: bool = True
    suffix: tuple[tuple[int, int, str], ...] = ()


def perl(text: str) -> Key:
    """Source: Perl's `version`: 1.10 is a decimal, so older than 1.9; v1.10 and 1.10.0 have several numbers.

    Raises ValueError.
    """
    found = _PERL.fullmatch(text.replace("_", ""))
    if found is None:
        raise ValueError(f"{text!r} is not a version")
    parts = found[2].split(".")
    if len(parts) == 2 and not found[1]:
        decimals = parts[1] + "0" * (-len(parts[1]) % 3)
        parts = [parts[0], *(decimals[at : at + 3] for at in range(0, len(decimals), 3))]
    return Key(_numbers(parts))


def runtime(text: str) -> Key:
    """Numbers of any count: Java's fourth one is a security fix (JEP 322), and 1.8.0_392 has one too.

    Raises ValueError.
    """
    found = _RUNTIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a version")
    pieces = re.findall(r"\d+|[A-Za-z]+", found[2])
    suffix = tuple((0, int(one), "") if one.isdigit() else (1, 0, one.lower()) for one in pieces)
    return Key(_numbers(re.split(r"[._]", found[1])), not suffix, suffix)


def _numbers(parts: list[str]) -> tuple[int, ...]:
    """Without zeros at the end: 1.2 is 1.2.0."""
    numbers = [int(part) for part in parts]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
