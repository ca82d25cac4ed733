"""Why an app may not move from one base to another: a comparison of sets, as rpm's dependencies are. Pure.

An app is held back by what it needs and does not bring, if the old base has it and the new one has not. What the old
base lacked too does not count: real trees have files for other machines, and optional parts that nothing loads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from buildfarm.releases.facts.base import BaseFacts, commands, java_runs
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.words import shown, words

REASONS_MAX = 10
_FARMS_OWN = ("etc/buildfarm/processes/", "cnb/process/")


def blockers(app: Sequence[LayerFacts], before: BaseFacts, after: BaseFacts) -> list[str]:
    """A sentence's part for each reason, at most ten and a count; empty if it may move."""
    found = [*_lacking(app, before, after), *_shadows(app, after)]
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
        and not (need.startswith("command:") and "command:*" in brought)
        and _is_lost(need, brought, before, after)
    }


def _is_lost(need: str, brought: frozenset[str], before: BaseFacts, after: BaseFacts) -> bool:
    kind, _, value = need.partition(":")
    if kind == "same":
        mine = {one for one in before.brings if one.startswith(f"{value}:")}
        return not mine <= after.brings and not any(one.startswith(f"{value}:") for one in brought)
    return before.has(need) and not after.has(need)


def _lacking(app: Sequence[LayerFacts], before: BaseFacts, after: BaseFacts) -> Iterator[str]:
    brought = frozenset[str]().union(*(layer.brought for layer in app))
    brought |= {f"command:{name}" for layer in app for name in commands(layer.files)}
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
        yield f"{shown(f'/{where}')} needs {words(need, before.brings)}, which the new base lacks{more}"


def _shadows(app: Sequence[LayerFacts], after: BaseFacts) -> Iterator[str]:
    for layer in app:
        hidden = {name for name in layer.files if name in after.files and not name.startswith(_FARMS_OWN)}
        removed = {name for name in layer.removed if _below(name, after)}
        for name in sorted(hidden | removed):
            yield f"its layers have {shown(f'/{name}')}, which hides what the new base has there"


def _below(removed: str, base: BaseFacts) -> bool:
    """Whether a base has what a layer removes; "x/" is all that is in x."""
    return removed.rstrip("/") in base.folders or removed in base.files
