"""Why an app may not move from one base to another: a comparison of sets, as rpm's dependencies are. Pure.

An app is held back by what it needs and does not bring, if the old base has it and the new one has not. What the old
base lacked too does not count: real trees have files for other machines, and optional parts that nothing loads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from buildfarm.releases.facts.base import BaseFacts, java_runs
from buildfarm.releases.facts.layer import LayerFacts

REASONS_MAX = 10
_TEXT_CHARS_MAX = 160
_FARMS_OWN = ("etc/buildfarm/processes/", "cnb/process/")
_NAMES = {"python": "Python", "ruby": "Ruby", "php": "the PHP API", "perl": "Perl", "node": "Node's module version",
          "glibc": "the C library"}  # fmt: skip


def blockers(app: Sequence[LayerFacts], before: BaseFacts, after: BaseFacts) -> list[str]:
    """A sentence's part for each reason, at most ten and a count; empty if it may move."""
    found = [*_lacking(app, before, after), *_shadows(app, before, after)]
    more = len(found) - REASONS_MAX
    return [*found[:REASONS_MAX], *([f"and {more} more reasons"] if more > 0 else [])]


def lost(needs: Iterable[str], brought: frozenset[str], before: BaseFacts, after: BaseFacts) -> set[str]:
    """Of these needs, those that the move would leave unmet."""
    own = {one.partition(":")[2] for one in brought if one.startswith("own:")}
    return {
        need
        for need in needs
        if need not in brought
        and need.removeprefix("same:").partition(":")[0] not in own
        and not (need.startswith("java:") and java_runs(brought, need))
        and _is_lost(need, brought, before, after)
    }


def shown(text: str) -> str:
    """Text of a tenant for a sentence: short, and without anything that a terminal would obey."""
    short = text if len(text) <= _TEXT_CHARS_MAX else f"{text[:60]}…{text[-90:]}"
    return ascii(short)[1:-1] if not short.isascii() or not short.isprintable() else short


def _is_lost(need: str, brought: frozenset[str], before: BaseFacts, after: BaseFacts) -> bool:
    kind, _, value = need.partition(":")
    if kind == "same":
        mine = {one for one in before.brings if one.startswith(f"{value}:")}
        return not mine <= after.brings and not any(one.startswith(f"{value}:") for one in brought)
    return before.has(need) and not after.has(need)


def _lacking(app: Sequence[LayerFacts], before: BaseFacts, after: BaseFacts) -> Iterator[str]:
    brought = frozenset[str]().union(*(layer.brought for layer in app))
    needs: dict[str, tuple[str, int]] = {}
    for layer in app:
        for need, (file, files) in layer.needs.items():
            first, others = needs.get(need, (file, 0))
            needs[need] = (min(first, file), others + files)
    gone = lost(needs, brought, before, after)
    for need in sorted(gone):
        # Without the library, its versions say nothing more.
        if need.endswith(")") and need.partition("(")[0] in gone:
            continue
        where, files = needs[need]
        more = "" if files == 1 else f" (as {files - 1} other files)"
        yield f"{shown(f'/{where}')} needs {_words(need, before)}, which the new base lacks{more}"


def _shadows(app: Sequence[LayerFacts], before: BaseFacts, after: BaseFacts) -> Iterator[str]:
    both = before.files | after.files
    for layer in app:
        hidden = {name for name in layer.files if name in both and not name.startswith(_FARMS_OWN)}
        for name in sorted(hidden.union(layer.removed)):
            yield f"its layers have {shown(f'/{name}')}, which hides what the new base has there"


def _words(need: str, before: BaseFacts) -> str:
    kind, _, value = need.partition(":")
    if kind == "same":
        mine = sorted(one.partition(":")[2] for one in before.brings if one.startswith(f"{value}:"))
        return f"exactly {_NAMES.get(value, value)} {', '.join(mine)}"
    if kind == "lib":
        library, bracket, version = value.partition("/")[2].partition("(")
        return shown(library) + (f" with {shown(version[:-1])}" if bracket else "")
    if kind == "java":
        return f"Java {int(value) - 44} or newer"
    return f"{_NAMES[kind]} {shown(value)}" if kind in _NAMES else shown(value)
