"""Matches components against vulnerabilities that an operator supplies. Source: ossf.github.io/osv-schema, 1.7. Pure.

The farm has no database of its own and asks none: what is not in the file is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from buildfarm.releases.facts.components.expression import normal_name
from buildfarm.releases.facts.components.models import ComponentView
from buildfarm.releases.facts.components.versions import VersionTextError, compare, order

RECORDS_MAX = 500_000
_ECOSYSTEMS = {
    "npm": "npm", "PyPI": "pypi", "RubyGems": "gem", "Maven": "maven", "Packagist": "composer", "Go": "golang",
    "crates.io": "cargo", "Debian": "deb", "Ubuntu": "deb",
}  # fmt: skip
_TEXT_CHARS_MAX = 200
_NAMED = 10  # of those that a sentence names
_EVENTS = ("introduced", "fixed", "last_affected")


class Verdict(NamedTuple):
    """Whether a record's part affects a version."""

    is_affected: bool
    fixed: str = ""  # the first version without it; empty if none is named
    is_unclear: bool = False  # not found to be affected, but a part of the record cannot be compared


@dataclass(frozen=True)
class Match:
    """A component that a record names as affected."""

    vulnerability: str
    component: ComponentView
    fixed: str
    summary: str
    by_artifact: bool = False  # the jar does not name its group, so another artifact of this name may be meant


class Records:
    """Records that name some of an image's components; all others are counted only.

    ``distribution`` of the image, such as debian-13, selects Debian's.
    """

    def __init__(self, records: Iterable[Any], components: Sequence[ComponentView], distribution: str = "") -> None:
        self._components = components
        self._names = {_named(one)[:2] for one in components}
        self._affected: dict[tuple[str, str], list[tuple[str, str, Mapping[str, Any]]]] = {}
        self._distribution = distribution
        self._kinds: set[str] = set()  # of which there is any record
        self.count = self.unreadable = self._of_releases = 0
        for record in records:
            self.count += 1
            if self.count > RECORDS_MAX:
                raise ValueError(f"there are more than {RECORDS_MAX:,} records")
            try:
                self._add(record)
            except (KeyError, TypeError, AttributeError):
                self.unreadable += 1

    def matches(self) -> list[Match]:
        """In the order of the components."""
        found = []
        for component, version, by_artifact, row in self._rows():
            verdict = affects(component.kind, version, row[2])
            if verdict.is_affected:
                found.append(Match(row[0], component, verdict.fixed, row[1], by_artifact))
        return found

    def gaps(self) -> list[str]:
        """What may be missing in `matches`, as sentences."""
        unclear = {
            f"{one.name}@{one.version}": None
            for one, version, _, row in self._rows() if affects(one.kind, version, row[2]).is_unclear
        }  # fmt: skip
        groupless = {one.name: None for one in self._components if one.kind == "maven" and "/" not in one.name}
        strange = {one.kind: None for one in self._components if one.kind not in self._kinds}
        found = []
        if strange:
            found.append(f"There is no record of these kinds of components: {_some(strange)}.")
        if self.unreadable:
            found.append(f"Records that could not be read: {self.unreadable:,}.")
        if unclear:
            found.append(f"Versions could not be compared with all records: {_some(unclear)}.")
        if groupless:
            found.append(f"Jars that do not name their group were compared by their name alone: {_some(groupless)}.")
        if self._of_releases and not self._distribution:
            found.append(
                f"Records of a distribution's release, left out since the image names none: {self._of_releases:,}."
            )
        return found

    def _rows(self) -> Iterator[tuple[ComponentView, str, bool, tuple[str, str, Mapping[str, Any]]]]:
        for component in self._components:
            kind, name, version = _named(component)
            by_artifact = kind == "maven" and "/" not in name
            for row in self._affected.get((kind, name), ()):
                yield component, version, by_artifact, row

    def _add(self, record: Any) -> None:
        if record.get("withdrawn") or not isinstance(record["id"], str):
            return
        for affected in record.get("affected") or ():
            ecosystem, _, release = affected["package"]["ecosystem"].partition(":")
            kind, name = _ECOSYSTEMS.get(ecosystem), affected["package"]["name"]
            self._kinds.update({kind or ""})
            if kind is None or (kind == "deb" and not self._is_of(ecosystem, release)):
                continue
            name = normal_name(kind, name.replace(":", "/") if kind == "maven" else name)
            # A jar without its group is matched by the artifact's name.
            keys = {(kind, name), (kind, name.rpartition("/")[2])} if kind == "maven" else {(kind, name)}
            for key in keys & self._names:
                _check(affected)
                row = (record["id"][:_TEXT_CHARS_MAX], str(record.get("summary") or "")[:_TEXT_CHARS_MAX], affected)
                self._affected.setdefault(key, []).append(row)

    def _is_of(self, ecosystem: str, release: str) -> bool:
        """Whether the image has this release: "13", "24.04:LTS" or "Pro:24.04:LTS"."""
        name, _, version = self._distribution.partition("-")
        if release and not name:
            self._of_releases += 1
        return name in ("", ecosystem.lower()) and (not release or version in release.split(":"))


def affects(kind: str, version: str, affected: Mapping[str, Any]) -> Verdict:
    """Whether a record's part affects the version. Source: the schema's section "Evaluation"."""
    listed, ranges = affected.get("versions") or (), affected.get("ranges") or ()
    found = version in listed or any(_is_equal(kind, version, text) for text in listed)
    # Commits cannot be compared; the schema has the versions listed then.
    mended, is_unclear = "", bool(ranges) and not listed and all(one.get("type") == "GIT" for one in ranges)
    for one in ranges:
        if one.get("type") not in ("SEMVER", "ECOSYSTEM"):
            continue
        try:
            is_in, fixed = _in_range(kind, version, one.get("events") or ())
        except (VersionTextError, TypeError, AttributeError):
            is_unclear = True
            continue
        found, mended = found or is_in, mended or fixed
    return Verdict(True, mended) if found else Verdict(False, "", is_unclear)


def _is_equal(kind: str, version: str, named: str) -> bool:
    """As 2.0 is 2.0.0."""
    try:
        return order(kind, version, named) == 0
    except VersionTextError:
        return False


def _check(affected: Mapping[str, Any]) -> None:
    """Raises TypeError if its lists are not such."""
    texts, ranges = affected.get("versions") or [], affected.get("ranges") or []
    if not (isinstance(texts, list) and isinstance(ranges, list)):
        raise TypeError
    if not (all(isinstance(one, str) for one in texts) and all(isinstance(one, dict) for one in ranges)):
        raise TypeError


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"


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
    found = 1 if text == "0" else order(kind, version, text)
    return found > 0 if event == "last_affected" else found >= 0


def _named(component: ComponentView) -> tuple[str, str, str]:
    """Kind, name and version; Debian files vulnerabilities by source package."""
    name, _, version = component.source.partition("@")
    if component.kind == "deb" and name:
        return "deb", name, version
    return component.kind, normal_name(component.kind, component.name), component.version
