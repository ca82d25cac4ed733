"""A trend over an app's newest builds, as a line beside its newest value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.api.page.sentences import duration
from buildfarm.telemetry.units import size

WIDTH, HEIGHT = 96.0, 26.0
_EDGE = 3.0  # room for the line's end


@dataclass(frozen=True)
class Trend:
    """A line over an app's newest builds; none is drawn through fewer than two."""

    points: str
    end: tuple[float, float]
    last: str  # the newest value in words, empty if there is none
    in_words: str


def seconds_trend(values: Sequence[float]) -> Trend:
    """The seconds of builds, the newest last."""
    return _trend(values, [duration(value) for value in values])


def bytes_trend(values: Sequence[float]) -> Trend:
    """The bytes of images, the newest last."""
    return _trend(values, [size(value) for value in values])


def _trend(values: Sequence[float], words: Sequence[str]) -> Trend:
    if not values:
        return Trend("", (0, 0), "", "no builds yet")
    least, span = min(values), (max(values) - min(values)) or 1.0
    step = (WIDTH - 2 * _EDGE) / max(len(values) - 1, 1)
    flat = max(values) == least
    points = [
        (
            round(_EDGE + number * step, 1),
            round(HEIGHT / 2 if flat else HEIGHT - _EDGE - (value - least) / span * (HEIGHT - 6), 1),
        )
        for number, value in enumerate(values)
    ]
    low, high = words[values.index(least)], words[values.index(max(values))]
    told = f"{words[-1]}; the last {len(values)} builds: {low} to {high}" if len(values) > 1 else words[-1]
    return Trend(" ".join(f"{x},{y}" for x, y in points), points[-1], words[-1], told)
