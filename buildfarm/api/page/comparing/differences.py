"""Differences between things that two builds have by name: versions, bytes and seconds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from buildfarm.api.page.sentences import duration
from buildfarm.model import Layer
from buildfarm.telemetry.units import size

_DIGEST = re.compile(r"[0-9a-f]{12}")
_LEAST_SECONDS = 0.05
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Row:
    """Something of both builds, with an empty text for a build that has none. ``change`` is empty if they are alike."""

    name: str
    before: str
    after: str
    change: str = ""


def pairs(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Row]:
    """Rows of what has a version in either build, a digest beside it or none."""
    for name in [*after, *(name for name in before if name not in after)]:
        was, now = before.get(name, ""), after.get(name, "")
        change = "" if was == now else "new" if name not in before else "gone" if name not in after else "changed"
        yield Row(name, was, now, newer(was, now) if change == "changed" else change)


def newer(was: str, now: str) -> str:
    """Compare two versions by their numbers alone; digests are just different."""
    if _DIGEST.fullmatch(was.partition(" ")[0]) or _DIGEST.fullmatch(now.partition(" ")[0]):
        return "changed"
    old, new = ([int(part) for part in re.findall(r"\d+", text.partition(" ")[0])] for text in (was, now))
    return "newer" if new > old else "older" if new < old else "changed"


def by_origin(layers: Iterable[Layer]) -> dict[str, int]:
    """Bytes by what the layers are made from, the app's first."""
    found: dict[str, int] = {}
    for layer in reversed(list(layers)):
        found[layer.origin] = found.get(layer.origin, 0) + layer.size_bytes
    return found


def digests_by_origin(layers: Iterable[Layer]) -> dict[str, set[str]]:
    """Digests by what the layers are made from."""
    found: dict[str, set[str]] = {}
    for layer in layers:
        found.setdefault(layer.origin, set()).add(str(layer.digest))
    return found


def seconds_change(by: float) -> str:
    """A difference in words; empty for next to nothing."""
    return "" if abs(by) < _LEAST_SECONDS else f"{'+' if by > 0 else _MINUS}{duration(abs(by))}"


def bytes_change(before: int, after: int) -> str:
    """A difference in words; empty for none."""
    by = after - before
    return "" if not by else f"{'+' if by > 0 else _MINUS}{size(abs(by))}"


def row(name: str, before: str, after: str) -> Row:
    """A row of something that is the same or not."""
    return Row(name, before, after, "" if before == after else "changed")
