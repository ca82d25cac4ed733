"""What was measured in a soak, by lives. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

GROWTH_MAX = 1.05


@dataclass(frozen=True)
class Sample:
    """What the farm takes at a moment."""

    seconds: float  # since the beginning
    memory: int  # bytes of Redis
    bytes: int  # of the registry's file system
    inodes: int
    builds: int = 0  # submitted so far

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError("a sample was taken before the beginning")


MEASURES = {"memory": "memory of Redis", "bytes": "bytes of the registry", "inodes": "inodes of the registry"}


def in_life(samples: Sequence[Sample], number: int, life_seconds: float) -> list[Sample]:
    """The samples of a life, the first one being 1."""
    return [sample for sample in samples if int(sample.seconds // life_seconds) == number - 1]


def means(samples: Sequence[Sample]) -> dict[str, float]:
    """Of each measure: what is collected now and then goes up and down within a life."""
    return {name: statistics.fmean(getattr(sample, name) for sample in samples) for name in MEASURES}


def peaks(samples: Sequence[Sample]) -> dict[str, int]:
    """The most of each measure."""
    return {name: max(getattr(sample, name) for sample in samples) for name in MEASURES}


def table(samples: Sequence[Sample], lives: int, life_seconds: float) -> list[dict[str, Any]]:
    """A row for each life."""
    rows = []
    for number in range(1, lives + 1):
        if found := in_life(samples, number, life_seconds):
            mean = {name: round(value) for name, value in means(found).items()}
            rows.append(
                {
                    "life": number,
                    "builds": found[-1].builds - found[0].builds,
                    "mean": mean,
                    "peak": peaks(found),
                    "last": asdict(found[-1]),
                }
            )
    return rows


def growth(samples: Sequence[Sample], first: int, last: int, life_seconds: float) -> dict[str, tuple[float, float]]:
    """The means of a life and of a later one, by measure."""
    before, after = (means(in_life(samples, number, life_seconds)) for number in (first, last))
    return {name: (before[name], after[name]) for name in MEASURES}
