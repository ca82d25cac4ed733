"""How far a build is and how long it still takes, by the app's last builds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from statistics import median

from buildfarm.fields import Frozen
from buildfarm.model import Build, Phase, State

LOOKED_AT = 20  # of the app's newest builds: those that failed or were not built say nothing
_BUILDS = 5  # the newest successful ones, so that a change of the app shows soon

Usual = Mapping[Phase, float]


class Estimate(Frozen):
    """How long a build takes from its start on, and how much of that is left."""

    total_seconds: float
    left_seconds: float
    late: bool = False  # it takes longer than usual: how much is left is not known

    @property
    def done(self) -> float:
        """From 0 to 1."""
        return 1 - self.left_seconds / self.total_seconds


def usual_seconds(newest: Iterable[Build]) -> Usual:
    """The median of each phase in an app's last successful builds, given the newest first; empty if there are none."""
    built = (build.result for build in newest if build.state is State.SUCCEEDED and not build.result_of)
    phases = [result.phase_seconds for result in islice((one for one in built if one), _BUILDS)]
    return {phase: median(one.get(phase, 0.0) for one in phases) for phase in Phase} if phases else {}


def estimate(build: Build, usual: Usual, now: float) -> Estimate | None:
    """What is left of a build at this time of the store's clock; None if it has ended or the app has no history."""
    total = sum(usual.values())
    if build.state.final or not total:
        return None
    if build.state is not State.RUNNING or build.phase is None:
        return Estimate(total_seconds=total, left_seconds=total)
    phases = list(Phase)
    following = sum(usual[phase] for phase in phases[phases.index(build.phase) + 1 :])
    elapsed = max(0.0, now - build.phases_began.get(build.phase, now))
    # A phase that takes longer than usual eats into the time of those that follow.
    left = min(total, max(0.0, following + usual[build.phase] - elapsed))
    began = min(build.phases_began.values(), default=now)
    return Estimate(total_seconds=total, left_seconds=left, late=left == 0 and now - began > total)
