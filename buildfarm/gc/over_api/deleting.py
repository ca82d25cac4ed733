"""Deletes manifests over the registry's API, and puts back those that something names by then.

Nothing may be lost on the way: their bytes are in the registry before the first of them goes, and if anything fails
before it is known what is needed, all go back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from itertools import groupby

from buildfarm.gc.choose import Choice, Reason
from buildfarm.gc.collect import Budget
from buildfarm.gc.over_api.listing import Place
from buildfarm.gc.over_api.planning import Planning, about, wholes_first
from buildfarm.gc.over_api.taken import Journal, Taken, put_back
from buildfarm.gc.plan import Plan
from buildfarm.gc.result import Collected, report
from buildfarm.gc.storage import Stored
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry

MANIFESTS_MAX = 10_000  # of one collection
BYTES_MAX = 32 * 1024 * 1024  # which are in memory until it is known what goes back


@dataclass
class Deleting:
    """One collection. ``late`` are digests that something outside names by now; ``go_on`` raises if it must end."""

    planning: Planning
    late: Callable[[], Collection[str]]
    go_on: Callable[[], None]
    taken: dict[Place, Taken] = field(default_factory=dict)  # what may go, in this order
    gone: dict[Place, Stored] = field(default_factory=dict)
    back: list[Stored] = field(default_factory=list)

    @property
    def registry(self) -> Registry:
        """The registry that it is about."""
        return self.planning.reading.registry

    def run(self, plan: Plan, budget: Budget, *, settle_seconds: float) -> Collected:
        """Raises RegistryError, and what ``late`` and ``go_on`` do; what is needed was put back by then."""
        started = time.monotonic()
        items, journal = self._take(plan), Journal(self.registry)
        if items:
            journal.begin(list(self.taken.values()))
            try:
                self._delete(items, started + budget.seconds)
                needed = self._needed(settle_seconds)
            except BaseException:  # also one that an operator stops
                self._put_back(list(self.gone.values()))
                journal.end()
                raise
            self._put_back(needed)
            journal.end([item for place, item in self.taken.items() if place in self._left()])
        return self._report(plan.choice, started)

    def _take(self, plan: Plan) -> list[Stored]:
        """What of the plan may go now, wholes first; its bytes are in ``taken``."""
        going, found, total = sorted(plan.choice.going, key=_repository), list[Stored](), 0
        for _, items in groupby(going, _repository):
            for item in wholes_first([*items]):
                if len(found) >= MANIFESTS_MAX or total >= BYTES_MAX:
                    return found
                try:
                    media_type, content, _ = self.registry.get_manifest(item.repository, item.digest)
                except NotInRegistryError:
                    continue
                taken = Taken(item.repository, tuple(sorted(item.tags)), media_type, content)
                self.taken[taken.place] = taken
                found.append(item)
                total += len(content)
        return found

    def _delete(self, items: Collection[Stored], until: float) -> None:
        reading, named = self.planning.reading, set(self.late())
        reading.look_for(named, {item.repository for item in items})
        for repository, some in groupby(items, _repository):
            kept = reading.made_of({*named, *self._tagged_since(repository)})
            for item in some:
                if time.monotonic() > until:
                    return
                if item.digest not in kept:
                    self._delete_one(item)

    def _tagged_since(self, repository: str) -> set[str]:
        before = self.planning.tags[repository].items()
        return {digest for _, digest in self.planning.reading.tags(repository).items() - before}

    def _delete_one(self, item: Stored) -> None:
        self.go_on()
        self.gone[item.repository, item.digest] = item  # a request that fails may have been done
        try:
            self.registry.delete_manifest(item.repository, Digest(item.digest))
        except NotInRegistryError:
            return

    def _needed(self, settle_seconds: float) -> list[Stored]:
        """A build that was pushing had found its manifest, or a part of it, before that was deleted."""
        if not self.gone:
            return []
        time.sleep(settle_seconds)
        reading, repositories = self.planning.reading, {repository for repository, _ in self.gone}
        named = set(self.late())
        self.go_on()  # that Redis is still the one which knows
        reading.look_for(named, repositories)
        for repository in repositories:
            named.update(reading.tags(repository).values())
        needed, found = reading.made_of(named), set[Place]()
        while more := [item for place, item in self.gone.items() if place not in found and _is_needed(item, needed)]:
            found.update((item.repository, item.digest) for item in more)
            needed |= reading.made_of(item.digest for item in more)
        return [item for place, item in self.gone.items() if place in found]

    def _put_back(self, items: Collection[Stored]) -> None:
        self.back = [*items]
        put_back(self.registry, [self.taken[item.repository, item.digest] for item in items])

    def _left(self) -> set[Place]:
        """What was deleted for good."""
        return self.gone.keys() - {(item.repository, item.digest) for item in self.back}

    def _report(self, choice: Choice, started: float) -> Collected:
        left = self._left()
        going = [item for item in choice.going if (item.repository, item.digest) in left]
        staying = [(item, Reason.YOUNG) for item in choice.going if (item.repository, item.digest) not in left]
        plan = self.planning.planned(replace(choice, going=going, staying=[*choice.staying, *staying]))
        return report(plan, going, [], started, put_back=len(self.back))


def _repository(item: Stored) -> str:
    return item.repository


def _is_needed(item: Stored, needed: Collection[str]) -> bool:
    return item.digest in needed or not about(item).isdisjoint(needed)
