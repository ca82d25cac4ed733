"""Which apps move in which wave. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from buildfarm.releases.rollouts.rules.parameters import Parameters, share_of
from buildfarm.releases.rollouts.rules.states import App, AppState


def in_waves(apps: Collection[App], rollout_id: str, parameters: Parameters) -> tuple[list[App], int]:
    """The apps that can be moved with their waves, in their order, and the number of waves.

    Each rollout has another order, so that it is not always the same customers who go first.
    """
    waiting = [app for app in apps if app.state is AppState.WAITING]
    first = [app for app in waiting if app.name in parameters.canaries]
    rest = [app for app in waiting if app.name not in parameters.canaries]
    ordered = [*in_order(first, rollout_id), *in_order(rest, rollout_id)]
    ends = _ends(parameters.cohorts, len(ordered), len(first))
    sizes = [after - before for before, after in pairwise((0, *ends))]
    numbers = [wave for wave, size in enumerate(sizes) for _ in range(size)]
    return [replace(app, wave=wave) for app, wave in zip(ordered, numbers, strict=True)], len(sizes)


def in_order(apps: Collection[App], rollout_id: str) -> list[App]:
    """Apps in the order in which this rollout takes them."""
    return sorted(apps, key=lambda app: hashlib.sha256(f"{app.name}\n{rollout_id}".encode()).digest())


def _ends(cohorts: Sequence[str], apps: int, canaries: int) -> list[int]:
    """How many apps have moved at the end of each wave. Waves in which none would move are left out."""
    found: list[int] = [canaries] if canaries else []
    for cohort in cohorts:
        wanted = math.ceil(share_of(cohort) * apps) if cohort.endswith("%") else int(cohort)
        if (end := min(wanted, apps)) > (found[-1] if found else 0):
            found.append(end)
    return found
