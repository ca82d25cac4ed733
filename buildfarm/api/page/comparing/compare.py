"""What differs between two builds, in sentences and in rows. Pure; for the page and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from buildfarm.api.page.comparing.differences import (
    Row,
    by_origin,
    bytes_change,
    digests_by_origin,
    pairs,
    row,
    seconds_change,
)
from buildfarm.api.page.sentences import duration, source_in_words
from buildfarm.model import Build, Layer, Phase
from buildfarm.telemetry.units import size

_SAME_SECONDS = 0.5
_PACKAGES_MAX = 2000
_NAMED = 3  # at most, in a sentence
_MADE_BY_FARM = "builder"


Packages = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of one kind."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Comparison:
    """What changed from one build to the other."""

    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def compare(before: Build, after: Build, packages: Sequence[Packages | None] = (None, None)) -> Comparison:
    """Compare two builds, of which ``before`` is the older one for what follows from it: "14 s slower".

    ``packages`` are those of both, versions by name; with None for one of them they are not compared.
    """
    old, new = packages
    changed = pairs(old, new) if old is not None and new is not None else ()
    tables = (
        Table("Source and result", tuple(_facts(before, after))),
        Table("Phases", tuple(_phases(before, after))),
        Table("Buildpacks", tuple(pairs(_buildpacks(before), _buildpacks(after)))),
        Table("Packages", tuple(found for found in changed if found.change)[:_PACKAGES_MAX]),
        Table("Layers", tuple(_layers(before, after))),
    )
    sentences = [*_time(before, after), *_source(before, after), *_changed(tables[2], "buildpack")]
    sentences += [*_changed(tables[3], "package"), *_sizes(before, after)]
    return Comparison(tuple(sentences), tuple(table for table in tables if table.rows))


def _facts(before: Build, after: Build) -> Iterator[Row]:
    yield row("source", *(source_in_words(build.request.source) for build in (before, after)))
    yield row("state", before.state, after.state)
    yield row("builder image", *(_builder_of(build) for build in (before, after)))
    images = [str(build.result.digest)[:19] if build.result else "" for build in (before, after)]
    yield row("image", *images)
    old, new = _image_bytes(before), _image_bytes(after)
    yield Row("size of the image", size(old) if old else "", size(new) if new else "", bytes_change(old, new))


def _builder_of(build: Build) -> str:
    """The builder's topmost layer stands for it."""
    layers = [layer for layer in _layers_of(build) if layer.origin == _MADE_BY_FARM]
    return str(layers[-1].digest)[7:19] if layers else ""


def _phases(before: Build, after: Build) -> Iterator[Row]:
    old, new = _seconds(before), _seconds(after)
    for phase in (phase for phase in Phase if phase in old or phase in new):
        was, took = old.get(phase), new.get(phase)
        change = seconds_change(took - was) if was is not None and took is not None else ""
        yield Row(phase, _duration(was), _duration(took), change)
    if old and new:
        total = sum(old.values()), sum(new.values())
        yield Row("all phases", duration(total[0]), duration(total[1]), seconds_change(total[1] - total[0]))


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _time(before: Build, after: Build) -> Iterator[str]:
    """The seconds of their phases; of a build that was taken from another one, those count which it took itself."""
    old, new = _seconds(before), _seconds(after)
    if not old or not new:
        return
    by = sum(new.values()) - sum(old.values())
    if abs(by) < _SAME_SECONDS:
        yield "Both took about as long."
        return
    changes = {phase: new.get(phase, 0.0) - old.get(phase, 0.0) for phase in {*old, *new}}
    share = [phase for phase in changes if changes[phase] / by > 0.1 and abs(changes[phase]) >= _SAME_SECONDS / 5]
    named = ", ".join(sorted(share, key=lambda phase: -abs(changes[phase]))[:_NAMED])
    yield f"{duration(abs(by))} {'slower' if by > 0 else 'faster'}{f': {named}' if named else ''}."


def _source(before: Build, after: Build) -> Iterator[str]:
    same = before.request.source == after.request.source
    yield "The source is the same." if same else "The source changed."
    if before.result and after.result and _builder_of(before) != _builder_of(after):
        yield "The builder image changed."


def _changed(table: Table, what: str) -> Iterator[str]:
    """How many of a table's rows are newer, new or gone."""
    kinds = Counter(row.change for row in table.rows if row.change)
    parts = [f"{number} {kind}" for kind, number in kinds.most_common()]
    if parts:
        names = [row.name for row in table.rows if row.change]
        listed = f": {', '.join(names)}" if len(names) <= _NAMED else ""
        yield f"{_capital(what)}s: {', '.join(parts)}{listed}."


def _sizes(before: Build, after: Build) -> Iterator[str]:
    if not before.result or not after.result:
        return
    old, new = by_origin(_layers_of(before)), by_origin(_layers_of(after))
    changes = {name: new.get(name, 0) - old.get(name, 0) for name in {*old, *new}}
    largest = sorted((name for name in changes if changes[name]), key=lambda name: (-abs(changes[name]), name))
    if not largest:
        yield "The image has the same size."
        return
    named = [f"layer {name} {bytes_change(0, changes[name])}" for name in largest[:_NAMED]]
    yield f"{_capital(', '.join(named))}."


def _layers(before: Build, after: Build) -> Iterator[Row]:
    old, new = by_origin(_layers_of(before)), by_origin(_layers_of(after))
    digests = [digests_by_origin(_layers_of(build)) for build in (before, after)]
    for name in [*new, *(name for name in old if name not in new)]:
        change = bytes_change(old.get(name, 0), new.get(name, 0))
        if not change and digests[0].get(name) != digests[1].get(name):
            change = "other content"
        sizes = [size(found[name]) if name in found else "" for found in (old, new)]
        yield Row(name, sizes[0], sizes[1], change)


def _buildpacks(build: Build) -> dict[str, str]:
    used = build.result.buildpacks if build.result else ()
    return {item.name: " ".join(part for part in (item.version, str(item.digest)[7:19]) if part) for item in used}


def _layers_of(build: Build) -> tuple[Layer, ...]:
    return build.result.layers if build.result else ()


def _seconds(build: Build) -> Mapping[Phase, float]:
    return build.result.phase_seconds if build.result and not build.result_of else {}


def _image_bytes(build: Build) -> int:
    return sum(layer.size_bytes for layer in _layers_of(build))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
