"""A collection: removes what nothing names, beside pushes and within budgets."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from buildfarm.gc.choose import ARCHIVE, Reason, Rules
from buildfarm.gc.files.aside import Aside
from buildfarm.gc.files.removal import Removal
from buildfarm.gc.files.trash import recover
from buildfarm.gc.plan import make_plan, within
from buildfarm.gc.result import Collected, report
from buildfarm.gc.storage import Storage

SETTLE_SECONDS = 5.0  # a registry that has found all blobs of a manifest has written the manifest within this


@dataclass(frozen=True)
class Budget:
    """What one collection may do at most, after it knows what can go; the next one goes on."""

    freed_bytes: float = float("inf")
    seconds: float = float("inf")


def collect(
    storage: Storage,
    used: Mapping[str, Reason] | Collection[str],
    rules: Rules,
    *,
    really: bool,
    budget: Budget = Budget(),
    settle_seconds: float = SETTLE_SECONDS,
) -> Collected:
    """Remove what may go; without ``really`` only count it. The registry may go on taking pushes.

    Parts are moved aside first. After ``settle_seconds``, what a push has named meanwhile is put back. A push that
    names a blob which is aside is refused by the registry, and its build is tried again with the blob sent anew. The
    registry must keep no cache of blobs. Raises SetupError if another collection runs.
    """
    named = used if isinstance(used, Mapping) else dict.fromkeys(used, Reason.RECORD)
    started = time.monotonic()
    if not really:
        plan = make_plan(storage, named, rules)
        going = within(plan.blobs, budget.freed_bytes)
        return report(plan, plan.choice.going, going, started)
    with storage.locked():
        recovered = recover(storage)
        plan = make_plan(storage, named, rules)
        run = Removal(storage, plan, Aside.open(storage), time.monotonic() + budget.seconds)
        run.take(within(plan.blobs, budget.freed_bytes))
        if run.manifests or run.blobs or run.links:
            time.sleep(settle_seconds)
        put_back = run.put_back_late()
        run.aside.empty()
        storage.forget_empty(ARCHIVE, time.time() - rules.grace_seconds)  # only packs are deleted over the API
        return report(plan, run.manifests, run.blobs, started, put_back=put_back, recovered=recovered)
