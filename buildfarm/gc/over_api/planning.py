"""What may go of a registry that was listed: the rules, on manifests that are read over its API."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from buildfarm.gc.choose import REFERRER_TAG, Choice, Reason, Rules, choose
from buildfarm.gc.over_api.listing import Place
from buildfarm.gc.over_api.reading import Reading
from buildfarm.gc.plan import Plan
from buildfarm.gc.storage import Stored


@dataclass
class Planning:
    """``seen`` is since when each manifest is there; ``used`` are digests that something outside names."""

    reading: Reading
    seen: Mapping[Place, float]
    used: Mapping[str, Reason]
    rules: Rules
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # of each repository, as the plan read them

    def plan(self) -> Plan:
        """What may go; its ``blobs`` are those that the registry's own collector frees then. Raises RegistryError."""
        self.tags = {repository: self.reading.tags(repository) for repository in {place[0] for place in self.seen}}
        return self.planned(choose(list(self._manifests()), self.used, self.rules, time.time()))

    def planned(self, choice: Choice) -> Plan:
        """The plan of this choice."""
        sizes = self.reading.sizes
        kept = {name for item, _ in choice.staying for name in item.names}
        freed = {name for item in choice.going for name in item.names} - kept
        return Plan(choice, {name: sizes[name] for name in sorted(freed) if name in sizes}, (), sizes)

    def _manifests(self) -> Iterator[Stored]:
        tagged: dict[Place, set[str]] = {}
        for repository, tags in self.tags.items():
            for tag, digest in tags.items():
                tagged.setdefault((repository, digest), set()).add(tag)
        for place, digest in zip(self.seen, self.reading.read_all(list(self.seen)), strict=True):
            if digest:  # it was not deleted since
                yield self._stored(place, self.seen[place], frozenset(tagged.get(place, ())))
        for place in tagged.keys() - self.seen.keys():  # it came after the listing
            yield self._stored(place, time.time(), frozenset(tagged[place]))

    def _stored(self, place: Place, at: float, tags: frozenset[str]) -> Stored:
        return Stored.of(place, at, tags, self.reading.contents[place[1]])


def wholes_first(items: Sequence[Stored]) -> list[Stored]:
    """Manifests of one repository: each before what it is made of, and before what it is about."""
    there = {item.digest: item for item in items}
    graph = {digest: ({*item.names, item.subject} & there.keys()) - {digest} for digest, item in there.items()}
    return [there[digest] for digest in reversed([*TopologicalSorter(graph).static_order()])]


def about(item: Stored) -> set[str]:
    """The manifests that this one is about, by its content or by the tag that it had."""
    found = map(REFERRER_TAG.fullmatch, item.tags)
    return {item.subject, *(_digest(match) for match in found if match)} - {""}


def _digest(match: re.Match[str]) -> str:
    return f"sha256:{match[1]}"
