"""What the builds of a soak are, by their number alone, so that it can be made and checked in two places. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator

TENANTS, APPS = 10, 47
LARGE_BYTES, MEDIAN_BYTES = 5_000_000, 20_000
LAYER_BYTES = (4_000, 400_000)

_WORDS = [random.Random(number).randbytes(random.Random(number).randint(2, 5)).hex() for number in range(2000)]
_TEXTS = [" ".join(random.Random(number).choices(_WORDS, k=20)) for number in range(997)]


def id_of(number: int) -> str:
    """The build's id, which its submitter may choose."""
    return f"{number:016x}"


def number_of(build_id: str) -> int:
    """Which build it is."""
    return int(build_id, 16)


def place_of(number: int) -> tuple[str, str]:
    """Tenant and app."""
    app = number % APPS
    return f"soak-{app % TENANTS}", f"app-{app}"


def fails(number: int) -> bool:
    """Every tenth build does."""
    return number % 10 == 9


def has_source(number: int) -> bool:
    """Whether its source is packed and sent for it; others name one that nobody reads."""
    return number % 20 == 7


def log_bytes(number: int) -> int:
    """How much it prints, at least: one in twenty very much, and the others about the median."""
    if number % 20 == 3:
        return LARGE_BYTES
    return int(MEDIAN_BYTES * 4 ** random.Random(number).uniform(-1, 1))


def lines_of(number: int) -> Iterator[str]:
    """What it prints."""
    left, line = log_bytes(number), 0
    while left > 0:
        text = f"{number} {line} {_TEXTS[(number * 31 + line * 7) % len(_TEXTS)]}"
        yield text
        left, line = left - len(text) - 1, line + 1


def layer_of(number: int) -> bytes:
    """A layer that no other image has."""
    source = random.Random(number)
    return source.randbytes(source.randint(*LAYER_BYTES))
