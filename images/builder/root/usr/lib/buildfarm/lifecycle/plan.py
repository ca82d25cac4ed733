"""The build plan: which of the buildpacks that pass belong together (buildpack.md, "Phase #1: Detection"). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Section:
    """What a buildpack provides and requires; a require is its table, with a ``name``."""

    provides: tuple[str, ...] = ()
    requires: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Passed(Generic[T]):
    """A buildpack whose detect passed, with the alternatives that it offers, the preferred first."""

    buildpack: T
    optional: bool
    sections: tuple[Section, ...] = (Section(),)


@dataclass
class Entry(Generic[T]):
    """A name of the plan: who can provide it, in order, and what is required of it."""

    name: str
    providers: list[T] = field(default_factory=list)
    requires: list[Mapping[str, Any]] = field(default_factory=list)


def parse_plan(found: Mapping[str, Any]) -> tuple[Section, ...]:
    """The build plan file's alternatives: itself, then each ``[[or]]``. Raises ValueError."""
    others = found.get("or") or []
    if not isinstance(others, list):
        raise ValueError("`or` must be an array of tables")  # noqa: TRY004 - it is the file that is wrong
    return tuple(_section(table) for table in (found, *others))


def resolve(passed: Sequence[Passed[T]]) -> tuple[list[T], list[Entry[T]]] | None:
    """The buildpacks that stay, and their plan, by the first alternatives that work together; None if none do."""
    for sections in product(*(item.sections for item in passed)):
        kept = _trial(list(zip(passed, sections, strict=True)))
        if kept:
            return [item.buildpack for item, _ in kept], list(_entries(kept))
    return None


def _trial(kept: list[tuple[Passed[T], Section]]) -> list[tuple[Passed[T], Section]]:
    """Drops optional buildpacks with unmet requirements until none is left; empty if a required one has any."""
    while (at := _violation([section for _, section in kept])) is not None:
        if not kept[at][0].optional:
            return []
        del kept[at]
    return kept


def _violation(sections: Sequence[Section]) -> int | None:
    """The first that provides what neither it nor a later one requires, or requires what none before gives."""
    for at, section in enumerate(sections):
        wanted = {str(require["name"]) for later in sections[at:] for require in later.requires}
        given = {name for earlier in sections[: at + 1] for name in earlier.provides}
        if not wanted.issuperset(section.provides) or not given.issuperset(
            str(item["name"]) for item in section.requires
        ):
            return at
    return None


def _entries(kept: Sequence[tuple[Passed[T], Section]]) -> Iterator[Entry[T]]:
    entries: dict[str, Entry[T]] = {}
    for item, section in kept:
        for name in section.provides:
            entries.setdefault(name, Entry(name)).providers.append(item.buildpack)
        for require in section.requires:
            entries.setdefault(str(require["name"]), Entry(str(require["name"]))).requires.append(require)
    yield from entries.values()


def _section(table: Any) -> Section:
    if not isinstance(table, dict):
        raise ValueError("`or` must be an array of tables")  # noqa: TRY004 - likewise
    lists = {}
    for key in ("provides", "requires"):
        items = table.get(key) or []
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and isinstance(item.get("name"), str) for item in items
        ):
            raise ValueError(f"each of `{key}` must have a name")
        lists[key] = items
    return Section(tuple(item["name"] for item in lists["provides"]), tuple(lists["requires"]))
