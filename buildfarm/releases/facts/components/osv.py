"""Matches components against vulnerabilities that an operator supplies. Source: ossf.github.io/osv-schema, 1.7. Pure.

The farm has no database of its own and asks none: what is not in the file is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.releases.facts.components.expression import normal_name
from buildfarm.releases.facts.components.models import ComponentView
from buildfarm.releases.facts.components.versions import VersionTextError, compare

RECORDS_MAX = 500_000
_ECOSYSTEMS = {
    "npm": "npm", "PyPI": "pypi", "RubyGems": "gem", "Maven": "maven", "Packagist": "composer", "Go": "golang",
    "crates.io": "cargo", "Debian": "deb", "Ubuntu": "deb",
}  # fmt: skip
_EVENTS = ("introduced", "fixed", "last_affected")


@dataclass(frozen=True)
class Match:
    """A component that a record names as affected."""

    vulnerability: str
    component: ComponentView
    fixed: str  # the first version without it; empty if none is named
    summary: str


class Records:
    """Records by the packages that they name. ``distribution`` of the image, such as debian-13, selects Debian's."""

    def __init__(self, records: Iterable[Any], distribution: str = "") -> None:
        self._affected: dict[tuple[str, str], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
        self.count = self.unreadable = 0
        for record in records:
            self.count += 1
            if self.count > RECORDS_MAX:
                raise ValueError(f"there are more than {RECORDS_MAX:,} records")
            try:
                self._add(record, distribution)
            except (KeyError, TypeError, AttributeError):
                self.unreadable += 1

    def matches(self, components: Iterable[ComponentView]) -> Iterator[Match]:
        """In the order of the components."""
        for component in components:
            name, version = _named(component)
            for record, affected in self._affected.get((component.kind, name), ()):
                is_affected, fixed = affects(component.kind, version, affected)
                if is_affected:
                    yield Match(str(record["id"]), component, fixed, str(record.get("summary") or "")[:200])

    def _add(self, record: Any, distribution: str) -> None:
        if record.get("withdrawn") or not isinstance(record["id"], str):
            return
        for affected in record.get("affected") or ():
            ecosystem, _, release = affected["package"]["ecosystem"].partition(":")
            kind = _ECOSYSTEMS.get(ecosystem)
            if kind is None or (kind == "deb" and release and distribution.partition("-")[2] != release.split(":")[0]):
                continue
            name = affected["package"]["name"]
            name = name.replace(":", "/") if kind == "maven" else name
            self._affected.setdefault((kind, normal_name(kind, name)), []).append((record, affected))


def affects(kind: str, version: str, affected: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a record's part affects the version, and the version that mends it; empty if it names none.

    A range that cannot be compared does not match. Source: the schema's section "Evaluation".
    """
    found, mended = version in (affected.get("versions") or ()), ""
    for one in affected.get("ranges") or ():
        if not isinstance(one, dict) or one.get("type") not in ("SEMVER", "ECOSYSTEM"):
            continue
        try:
            is_in, fixed = _in_range(kind, version, one.get("events") or ())
        except (VersionTextError, TypeError, AttributeError):
            continue
        found, mended = found or is_in, mended or fixed
    return found, mended if found else ""


def _in_range(kind: str, version: str, events: Iterable[Mapping[str, str]]) -> tuple[bool, str]:
    """Each pair of introduced and fixed, or last_affected, is an interval; they need not be sorted."""
    points = [(event, text) for one in events for event, text in one.items() if event in _EVENTS]
    before = [point for point in points if point[0] == "introduced" and _reached(kind, version, point)]
    if not before:
        return False, ""
    ends = [(event, text) for event, text in points if event != "introduced"]
    newest = before[0]
    for point in before[1:]:
        if newest[1] == "0" or (point[1] != "0" and compare(kind, point[1], newest[1]) > 0):
            newest = point
    later = [end for end in ends if newest[1] == "0" or compare(kind, end[1], newest[1]) >= 0]
    if any(_reached(kind, version, end) for end in later):
        return False, ""
    fixes = [text for event, text in later if event == "fixed"]
    for text in fixes[1:]:
        if compare(kind, text, fixes[0]) < 0:
            fixes[0] = text
    return True, fixes[0] if fixes else ""


def _reached(kind: str, version: str, point: tuple[str, str]) -> bool:
    """Whether a version is at or after an event; after it, if that is the last one that is affected."""
    event, text = point
    order = 1 if text == "0" else compare(kind, version, text)
    return order > 0 if event == "last_affected" else order >= 0


def _named(component: ComponentView) -> tuple[str, str]:
    """Debian files vulnerabilities by source package."""
    name, _, version = component.source.partition("@")
    return (name, version) if component.kind == "deb" and name else (
        normal_name(component.kind, component.name), component.version,
    )  # fmt: skip
