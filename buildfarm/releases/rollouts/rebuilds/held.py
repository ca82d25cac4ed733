"""For how long builds of a campaign wait behind other builds of their tenants. In memory: another node counts anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from buildfarm.model import Build, State
from buildfarm.releases.rollouts.rules.states import App

HELD_SECONDS_MAX = 3600.0  # then the app is left out
_LOOK_SECONDS_MAX = 60.0  # that count from one look to the next, however long no node has looked


@dataclass
class HeldBuilds:
    """Seconds that each build has waited, and when that was last looked at, by rollout and build."""

    known: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def too_long(self, rollout: str, builds: Iterable[tuple[str, bool]], now: float) -> set[str]:
        """Of these held builds, those that have waited for an hour; one that is not named again begins anew.

        Args:
            rollout: the campaign.
            builds: its held builds, and whether it is others of the tenant that hold each now; else no time passes.
            now: in seconds.
        """
        before = self.known
        self.known = {key: one for key, one in before.items() if key[0] != rollout and now - one[1] < HELD_SECONDS_MAX}
        for build, counts in builds:
            seconds, seen_at = before.get((rollout, build), (0.0, now))
            passed = min(max(now - seen_at, 0.0), _LOOK_SECONDS_MAX) if counts else 0.0
            self.known[rollout, build] = (seconds + passed, now)
        own = {build: seconds for (of, build), (seconds, _) in self.known.items() if of == rollout}
        return {build for build, seconds in own.items() if seconds > HELD_SECONDS_MAX}


def held_by_others(apps: Sequence[App], builds: Mapping[str, Build]) -> list[Build]:
    """Held builds of tenants of which no other rebuild is under way.

    Args:
        apps: that are being rebuilt.
        builds: of them, by app, without those that are not known now.
    """
    using = {app.tenant for app in apps if not app.image and _may_run(builds.get(app.name))}
    held = [builds[app.name] for app in apps if app.name in builds and app.tenant not in using]
    return [build for build in held if build.state is State.HELD]


def _may_run(build: Build | None) -> bool:
    return build is None or not (build.state.final or build.state is State.HELD)
