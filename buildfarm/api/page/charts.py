"""The phases of an app's builds as columns, from the oldest build to the newest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.api.page.sentences import duration
from buildfarm.api.page.waterfall import Mark
from buildfarm.model import Build, Phase, State

WIDTH, HEIGHT = 800.0, 180.0
_LEFT = 52.0  # seconds stand here
_MARKS = 3


@dataclass(frozen=True)
class Part:
    """A phase in a column."""

    name: str
    y: float
    height: float


@dataclass(frozen=True)
class Column:
    """A build, with its phases from the bottom up."""

    build: Build
    x: float
    width: float
    parts: tuple[Part, ...]
    seconds: float


@dataclass(frozen=True)
class Chart:
    """The drawing: columns from the oldest build to the newest, and a scale."""

    columns: tuple[Column, ...]
    marks: tuple[Mark, ...]  # `x` is how far down the line is
    phases: tuple[Phase, ...]  # that have a part in any column
    in_words: str


def phase_chart(builds: Sequence[Build]) -> Chart:
    """The phases of builds that were built, the newest first in ``builds``."""
    built = [build for build in reversed(builds) if seconds_of(build)]
    most = max((sum(seconds_of(build).values()) for build in built), default=0.0) or 1.0
    step = (WIDTH - _LEFT) / max(len(built), 10)
    columns = tuple(_column(build, _LEFT + number * step, step * 0.8, most) for number, build in enumerate(built))
    marks = tuple(
        Mark(round(HEIGHT * (1 - part / _MARKS), 1), duration(most * part / _MARKS)) for part in range(_MARKS + 1)
    )
    phases = tuple(phase for phase in Phase if any(phase in seconds_of(build) for build in built))
    ends = f", from {duration(columns[0].seconds)} to {duration(columns[-1].seconds)}" if columns else ""
    return Chart(columns, marks, phases, f"Seconds of {len(columns)} builds by phase, the newest last{ends}")


def seconds_of(build: Build) -> dict[Phase, float]:
    """The seconds of a build's phases; none if it was taken from another build or made no image."""
    return build.result.phase_seconds if build.result and not build.result_of and build.state is State.SUCCEEDED else {}


def _column(build: Build, x: float, width: float, most: float) -> Column:
    seconds, parts, y = seconds_of(build), [], HEIGHT
    for phase in Phase:
        height = seconds.get(phase, 0.0) / most * HEIGHT
        y -= height
        if height:
            parts.append(Part(phase, round(y, 1), round(max(height, 0.5), 1)))
    return Column(build, round(x, 1), round(width, 1), tuple(parts), sum(seconds.values()))
