"""What is known of the apps of a rollout: reports, images in use, holds, and builds that have published meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from buildfarm.releases.base import Base
from buildfarm.releases.rollouts.mover import Mover
from buildfarm.releases.rollouts.observations import Hold, Holds, Observations
from buildfarm.releases.rollouts.rules.machine import observe
from buildfarm.releases.rollouts.rules.persons import hold, release
from buildfarm.releases.rollouts.rules.reports import AppHealth
from buildfarm.releases.rollouts.rules.states import MOVED, App, AppState
from buildfarm.store.database import Database
from buildfarm.store.keeping.running import ImagesInUse

_OVERLAP_SECONDS = 5.0
_NOTHING = AppHealth()


@dataclass
class Watch:
    """Reads only what is new. Every method raises StoreError, and RegistryError if a build's image is looked at."""

    database: Database
    mover: Mover
    health: dict[str, AppHealth] = field(default_factory=dict)
    _since: float = 0.0

    def refresh(self, now: float) -> None:
        """Reads the reports that came since the last look."""
        observations = Observations(self.database)
        self.health |= observations.of(observations.since(self._since))
        self._since = now - _OVERLAP_SECONDS

    def changed(self, apps: Mapping[str, App], base: Base, now: float) -> list[App]:
        """The apps that are no longer as the rollout has them."""
        holds = Holds(self.database).active()
        awaited = any(app.state is AppState.ANNOUNCED for app in apps.values())
        in_use = ImagesInUse(self.database).digests() if awaited else set()
        moved = [app for app in apps.values() if app.state in MOVED]
        targets = self.mover.rollouts.targets([app.name for app in moved])
        found = [_held(app, holds.get(app.name)) for app in apps.values() if app.state not in MOVED]
        for app in moved:
            there = targets.get(app.name, "") == app.image
            found.append(self._observed(app if there else self.mover.on_base(app, base), in_use, now))
        return [app for app in found if app != apps[app.name]]

    def was_unhealthy(self, app: App, now: float) -> bool:
        """Whether the app is unhealthy on the image that it is still on."""
        return self.health.get(app.name, _NOTHING).status(app.previous, now) == "unhealthy"

    def _observed(self, app: App, in_use: Collection[str], now: float) -> App:
        status = self.health.get(app.name, _NOTHING).status(app.image, now)
        return observe(app, status, is_running=app.image in in_use)


def _held(app: App, held: Hold | None) -> App:
    if held is None:
        return release(app)
    return hold(app, f"{held.actor}: {held.reason}")
