"""A build's phases as bars over time: where each begins and ends in a drawing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.model import Build, Phase

WIDTH = 800.0
_LEFT = 74.0  # names stand here
_RIGHT = 64.0  # seconds of the last bar stand here
_ROW = 24.0
_THINNEST = 2.0
_MARKS = 4


@dataclass(frozen=True)
class Span:
    """A phase; seconds since the build was submitted."""

    name: str
    starts: float
    ends: float
    now: bool = False  # it goes on


@dataclass(frozen=True)
class Bar:
    """A span as it is drawn."""

    name: str
    x: float
    y: float
    width: float
    label: str
    label_x: float
    label_end: bool  # the label ends at `label_x`
    now: bool


@dataclass(frozen=True)
class Mark:
    """A line of the scale."""

    x: float
    label: str


@dataclass(frozen=True)
class Waterfall:
    """The drawing: bars from the top down, and a scale."""

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    width: float
    height: float
    in_words: str


def spans_of(build: Build, now: float) -> list[Span]:
    """Queue and phases of the newest attempt; the result's own seconds if there is one, else by when each began."""
    spans: list[Span] = []
    if build.started_at is None:
        return [Span("queue", 0, _until(build, now), now=not build.state.final)]
    spans.append(Span("queue", 0, build.started_at - build.submitted_at))
    if build.result is not None and build.result_of is None:
        seconds = build.result.phase_seconds
        # Of a build that was tried more than once only the last attempt's seconds are known: they stand at its end.
        at = max(_until(build, now) - sum(seconds.values()), spans[0].ends)
        for phase in Phase:
            if phase in seconds:
                spans.append(Span(phase, at, at + seconds[phase]))
                at += seconds[phase]
        return spans
    begun = sorted((began, phase) for phase, began in build.phases_began.items())
    for index, (began, phase) in enumerate(begun):
        last = index + 1 == len(begun)
        ends = _until(build, now) if last else begun[index + 1][0] - build.submitted_at
        spans.append(Span(phase, began - build.submitted_at, max(ends, 0), now=last and not build.state.final))
    return spans


def draw(spans: list[Span]) -> Waterfall:
    """The spans as a drawing of a fixed width."""
    total = max((span.ends for span in spans), default=0) or 1.0
    scale = (WIDTH - _LEFT - _RIGHT) / total
    bars = []
    for row, span in enumerate(spans):
        x, width = _LEFT + span.starts * scale, max((span.ends - span.starts) * scale, _THINNEST)
        fits = x + width + _RIGHT <= WIDTH
        bars.append(
            Bar(
                name=span.name,
                x=round(x, 1),
                y=row * _ROW,
                width=round(width, 1),
                label=f"{_seconds(span.ends - span.starts)}{' …' if span.now else ''}",
                label_x=round(x + width + 6 if fits else x - 6, 1),
                label_end=not fits,
                now=span.now,
            )
        )
    marks = tuple(
        Mark(round(_LEFT + total * scale * part / _MARKS, 1), _seconds(total * part / _MARKS))
        for part in range(_MARKS + 1)
    )
    told = ", ".join(f"{span.name} {_seconds(span.ends - span.starts)}" for span in spans)
    return Waterfall(tuple(bars), marks, WIDTH, len(spans) * _ROW + 22, told)


def _until(build: Build, now: float) -> float:
    return max((build.finished_at or now) - build.submitted_at, 0)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
