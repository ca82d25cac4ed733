"""What is known of the apps of a rollout: reports, images in use, holds, and builds that have published meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from buildfarm.releases.rollouts.mover import Mover
from buildfarm.releases.rollouts.observations import Hold, Holds, Observations
from buildfarm.releases.rollouts.rebuilds.campaign import Campaign
from buildfarm.releases.rollouts.rules.machine import observe, reverted
from buildfarm.releases.rollouts.rules.persons import hold, release
from buildfarm.releases.rollouts.rules.reports import AppHealth
from buildfarm.releases.rollouts.rules.states import MOVED, UNDER_WAY, App, AppState, Rollout
from buildfarm.store.database import Database
from buildfarm.store.keeping.running import ImagesInUse

_OVERLAP_SECONDS = 5.0
_NOTHING = AppHealth()


@dataclass
class Watch:
    """Reads only what is new. Every method raises StoreError."""

    database: Database
    mover: Mover
    campaign: Campaign
    health: dict[str, AppHealth] = field(default_factory=dict)
    _since: float = 0.0

    def refresh(self, now: float) -> None:
        """Reads the reports that came since the last look."""
        observations = Observations(self.database)
        self.health |= observations.of(observations.since(self._since))
        self._since = now - _OVERLAP_SECONDS

    def changed(self, rollout: Rollout, apps: Mapping[str, App], now: float) -> list[App]:
        """The apps that are no longer as the rollout has them."""
        holds = Holds(self.database).active()
        awaited = any(app.state is AppState.ANNOUNCED for app in apps.values())
        in_use = ImagesInUse(self.database).digests() if awaited else set()
        moved = [app for app in apps.values() if app.state in MOVED]
        targets = self.mover.rollouts.targets([app.name for app in moved])
        found = [_held(app, rollout, holds.get(app.name)) for app in apps.values() if app.state not in UNDER_WAY]
        found += [
            self._observed(self._there(app, rollout, targets.get(app.name)), rollout, in_use, now) for app in moved
        ]
        if rollout.rebuilds:
            followed = self.campaign.followed(apps, rollout, now, holds)
            found += [_held(app, rollout, holds.get(app.name)) for app in followed]
        return [app for app in found if app != apps[app.name]]

    def was_unhealthy(self, app: App, now: float) -> bool:
        """Whether the app is unhealthy on the image that it is still on."""
        return self.health.get(app.name, _NOTHING).status(app.previous, now) == "unhealthy"

    def _there(self, app: App, rollout: Rollout, newest: str | None) -> App:
        """The moved app with its newest image, which may be another one by now."""
        if newest == app.image:
            return app
        back = reverted(app, "it was put back on its previous image")
        found = back if newest == app.previous else self._elsewhere(app, rollout)
        return replace(found, wave=rollout.wave) if found.state is AppState.REVERTED else found

    def _elsewhere(self, app: App, rollout: Rollout) -> App:
        return self.campaign.there(app, rollout) if rollout.rebuilds else self.mover.on_base(app, rollout.base)

    def _observed(self, app: App, rollout: Rollout, in_use: Collection[str], now: float) -> App:
        status = self.health.get(app.name, _NOTHING).status(app.image, now, rollout.reports_since(app))
        return observe(app, status, is_running=app.image in in_use)


def _held(app: App, rollout: Rollout, held: Hold | None) -> App:
    if held is None:
        return release(app, rollout)
    return hold(app, f"{held.actor}: {held.reason}")
