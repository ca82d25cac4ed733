"""What has become of the builds of a campaign that were submitted."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from buildfarm.errors import RegistryError
from buildfarm.model import Build, State
from buildfarm.releases.rollouts.mover import Mover, side_by_side
from buildfarm.releases.rollouts.rebuilds.attempts import (
    AGAIN_SECONDS,
    is_held_too_long,
    left_out,
    others_left_out,
    waits,
)
from buildfarm.releases.rollouts.rebuilds.builds import CampaignBuilds
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout

_HELD = "its rebuild waited for an hour behind its tenant's limit of builds at once"


@dataclass(frozen=True)
class Following:
    """Raises StoreError. An app that the registry fails for stays as it is; the others go on."""

    mover: Mover
    builds: CampaignBuilds
    rollout: Rollout

    def changed(self, apps: Mapping[str, App], now: float, holds: Container[str]) -> list[App]:
        """The apps that are being rebuilt as they are now, and others that this changes.

        ``holds`` are apps that a person keeps as they are: their builds are cancelled if they have not begun.
        """
        building = [app for app in apps.values() if app.state is AppState.BUILDING]
        found = dict(zip((app.name for app in building), side_by_side(self._build, building), strict=True))
        builds = {name: one for name, one in found.items() if isinstance(one, Build)}
        changed = list[App]()
        for app in building:
            if is_held_too_long(app, builds, self.rollout, now) and self._stopped(app):
                changed += [left_out(app, _HELD), *others_left_out(app, apps.values(), _HELD)]
            elif app.name in holds and _waits(builds.get(app.name)) and self._stopped(app):
                changed.append(waits(app, "a person keeps it as it is"))
            else:
                changed.append(self._followed(app, found[app.name]))
        return changed

    def _build(self, app: App) -> Build | App:
        """The app's build; the app if its image is known by now, or if there is no such build."""
        try:
            if app.image:
                return self.builds.published(app, self.rollout)
            return self.builds.find(app) or waits(app, "its build is to be submitted again")
        except RegistryError as error:
            self.mover.trouble[app.name] = error
            return app

    def _followed(self, app: App, found: Build | App) -> App:
        after = found if isinstance(found, App) else self.builds.followed(app, found, self.rollout)
        if after.farm_failures > app.farm_failures:
            self.mover.put_off(after, self.rollout, seconds=AGAIN_SECONDS)
        return after

    def _stopped(self, app: App) -> bool:
        try:
            return self.builds.stopped(app)
        except RegistryError as error:
            self.mover.trouble[app.name] = error
            return False


def _waits(build: Build | None) -> bool:
    return build is not None and build.state in (State.HELD, State.QUEUED)
