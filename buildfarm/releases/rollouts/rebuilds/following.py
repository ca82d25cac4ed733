"""What has become of the builds of a campaign that were submitted."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from buildfarm.errors import RegistryError
from buildfarm.model import Build, State
from buildfarm.releases.rollouts.mover import Mover, side_by_side
from buildfarm.releases.rollouts.rebuilds.attempts import AGAIN_SECONDS, left_out, others_left_out, waits
from buildfarm.releases.rollouts.rebuilds.builds import CampaignBuilds
from buildfarm.releases.rollouts.rebuilds.held import HeldBuilds, held_by_others
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout

_HELD = "its rebuild waited for an hour behind its tenant's limit of builds at once"


@dataclass(frozen=True)
class Following:
    """Raises StoreError. An app that the registry fails for stays as it is; the others go on."""

    mover: Mover
    builds: CampaignBuilds
    rollout: Rollout
    held: HeldBuilds

    def changed(self, apps: Mapping[str, App], now: float, holds: Container[str]) -> list[App]:
        """The apps that are being rebuilt as they are now, and others that this changes.

        ``holds`` are apps that a person keeps as they are: their builds are cancelled if they have not begun.
        """
        building = [app for app in apps.values() if app.state is AppState.BUILDING]
        found = dict(zip((app.name for app in building), side_by_side(self._build, building), strict=True))
        builds = {name: one for name, one in found.items() if isinstance(one, Build)}
        late = self._held_too_long(building, builds, now)
        changed = list[App]()
        for app in building:
            if app.build in late and self._is_held(app) and self._stopped(app):
                changed += [left_out(app, _HELD), *others_left_out(app, apps.values(), _HELD)]
            elif app.name in holds and self._ended_by_hold(app, builds.get(app.name)):
                changed.append(waits(app, "a person keeps it as it is"))
            else:
                changed.append(self._followed(app, found[app.name]))
        return changed

    def _held_too_long(self, building: Sequence[App], builds: Mapping[str, Build], now: float) -> set[str]:
        """Builds that wait for an hour behind their tenant's other builds; never while the campaign is paused."""
        held = held_by_others(building, builds) if self.rollout.phase.moves else []
        by_tenant = {one.request.tenant: one for one in held}
        full = {tenant for tenant, one in by_tenant.items() if self.builds.is_held_by_tenant(one)}
        return self.held.too_long(self.rollout.id, [(one.id, one.request.tenant in full) for one in held], now)

    def _is_held(self, app: App) -> bool:
        """Whether it is so still: what was read before is not of one moment."""
        build = self._build(app)
        return isinstance(build, Build) and build.state is State.HELD

    def _ended_by_hold(self, app: App, build: Build | None) -> bool:
        """Whether a held app's build is cancelled, by now or since an earlier look, after which it had just begun."""
        if build is None or build.state not in (State.HELD, State.QUEUED):
            return build is not None and build.state is State.CANCELLED
        return self._stopped(app)

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
