"""The garbage of a farm whose registry's files are out of reach: what the farm needs of it, and a collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from buildfarm.gc.choose import Reason, Rules
from buildfarm.gc.collect import SETTLE_SECONDS, Budget
from buildfarm.gc.farm_garbage import FarmGarbage, encode
from buildfarm.gc.memory import claim, remember
from buildfarm.gc.over_api.alone import alone
from buildfarm.gc.over_api.deleting import Deleting
from buildfarm.gc.over_api.listing import Listing
from buildfarm.gc.over_api.planning import Planning
from buildfarm.gc.over_api.reading import Reading
from buildfarm.gc.over_api.remembered import Remembered
from buildfarm.gc.over_api.taken import Journal
from buildfarm.gc.plan import Plan
from buildfarm.gc.result import Collected, report
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.usage import Usage
from buildfarm.store.tags import Tags, tag_targets


@dataclass(frozen=True)
class ListedGarbage:
    """A collection over the API, of what a listing names. Raises RegistryError, StoreError and SetupError."""

    garbage: FarmGarbage
    listing: Listing
    settle_seconds: float = SETTLE_SECONDS

    def look(self, rules: Rules, listed: Collection[str] = ()) -> Collected:
        """What `collect` would remove."""
        started, registry = time.monotonic(), self.garbage.history.registry()
        seen = Remembered(registry).seen(self.listing)
        plan = Planning(Reading(registry), seen, self._used(listed), rules).plan()
        return report(plan, plan.choice.going, [], started)

    def collect(self, rules: Rules, budget: Budget, listed: Collection[str] = (), *, adopt: bool = False) -> Collected:
        """Remove what may go. With ``adopt`` the registry becomes this farm's."""
        with alone(self.garbage.database) as check:
            done = self._collect(rules, budget, listed, check, adopt=adopt)
        Collections(self.garbage.database).ended(encode(done))
        return done

    def _collect(
        self, rules: Rules, budget: Budget, listed: Collection[str], check: Callable[[], None], *, adopt: bool
    ) -> Collected:
        registry, database, usage = self.garbage.history.registry(), self.garbage.database, Usage(self.garbage.database)
        kept = Remembered(registry)
        claim(kept, database, adopt=adopt)
        journal = Journal(registry)
        recovered = journal.recover()
        self._mark({digest for _, digest in recovered})
        if adopt:
            self.garbage.adopt(kept, listed)
        counted, used = usage.uncorrected(), self._used(listed, remember=True)
        if not adopt:
            kept = Remembered(registry)
            claim(kept, database, adopt=False)  # meanwhile Redis or the registry may have become another one
        remember(kept, database)

        def go_on() -> None:
            check()
            claim(kept, database, adopt=False)

        seen = kept.seen(self.listing) | dict.fromkeys(recovered, time.time())
        planning = Planning(Reading(registry), seen, used, rules)
        deleting = Deleting(planning, lambda: self._used(listed), go_on)
        plan = planning.plan()
        missed = journal.missed((item for item, _ in plan.choice.staying), used)
        self._mark({digest for _, digest in missed})
        done = self._delete(deleting, plan, budget, kept)
        usage.correct(done.usage, counted)
        return replace(done, recovered=len(recovered) + len(missed))

    def _delete(self, deleting: Deleting, plan: Plan, budget: Budget, kept: Remembered) -> Collected:
        database, seen = self.garbage.database, deleting.planning.seen
        going = {(item.repository, item.digest) for item in plan.choice.going}
        deleting.go_on()
        kept.keep(seen, but=going)  # what is pushed again is young again, also if this process dies on the way
        remember(kept, database)
        try:
            done = deleting.run(plan, budget, settle_seconds=self.settle_seconds)
        finally:
            self._mark({digest for _, digest in deleting.gone})
        kept.keep(seen, but=deleting.gone)
        remember(kept, database)
        return done

    def _mark(self, digests: Collection[str]) -> None:
        """A tag goes with its manifest; that of an image which was put back is set again."""
        for target, image in tag_targets(self.garbage.database).items():
            if image in digests:
                Tags(self.garbage.database).mark(target)

    def _used(self, listed: Collection[str], *, remember: bool = False) -> dict[str, Reason]:
        used = self.garbage.used(listed, remember=remember)
        return dict.fromkeys(tag_targets(self.garbage.database).values(), Reason.TAG) | used
