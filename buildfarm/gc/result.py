"""What a collection found: what went, what stays and why, and how much each tenant has."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from buildfarm.gc.charge import usage
from buildfarm.gc.choose import Reason
from buildfarm.gc.plan import Plan
from buildfarm.gc.storage import Stored


@dataclass(frozen=True)
class Share:
    """What stays for one reason."""

    manifests: int = 0
    bytes: int = 0  # of blobs that no earlier reason keeps


@dataclass(frozen=True)
class Collected:
    """What a collection removed, or would remove, and what is left."""

    manifests: int
    blobs: int
    freed_bytes: int
    left_bytes: int  # that nothing names either, beyond the budget
    stored_bytes: int  # all blobs afterwards
    kept_manifests: int
    kept: Mapping[str, Share]  # by reason
    usage: Mapping[
        str, Mapping[str, int]
    ]  # bytes by tenant and by sources, caches, apps …; shared blobs count for each
    seconds: float
    put_back: int = 0  # named by a push that came meanwhile
    recovered: int = 0  # parts that a collection which died had moved aside


def report(
    plan: Plan,
    manifests: Sequence[Stored],
    blobs: Sequence[str],
    started: float,
    *,
    put_back: int = 0,
    recovered: int = 0,
) -> Collected:
    """The result of a collection that took these manifests and blobs."""
    freed = sum(plan.blobs[digest] for digest in blobs)
    return Collected(
        manifests=len(manifests),
        blobs=len(blobs),
        freed_bytes=freed,
        left_bytes=sum(plan.blobs.values()) - freed,
        stored_bytes=sum(plan.sizes.values()) - freed,
        kept_manifests=len(plan.choice.staying),
        kept=shares(plan),
        usage=usage(plan.choice, plan.sizes),
        seconds=round(time.monotonic() - started, 3),
        put_back=put_back,
        recovered=recovered,
    )


def shares(plan: Plan) -> dict[str, Share]:
    """What stays, by reason; a blob counts for the first reason that keeps it."""
    found: dict[str, Share] = {}
    counted: set[str] = set()
    for reason in Reason:
        mine = [item for item, why in plan.choice.staying if why is reason]
        blobs = {name for item in mine for name in item.names} - counted
        counted |= blobs
        found[reason] = Share(len(mine), sum(plan.sizes.get(digest, 0) for digest in blobs))
    return found
