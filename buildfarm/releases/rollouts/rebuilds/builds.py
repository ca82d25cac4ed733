"""The builds of a campaign: submitted, followed and cancelled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from buildfarm.errors import (
    ConflictError,
    NotFoundError,
    QueueFullError,
    RegistryFullError,
    RequestError,
    StorageLimitError,
    StoreFullError,
    TooLateError,
    UnconfirmedError,
)
from buildfarm.model import Build, BuildRequest, Request, State
from buildfarm.releases.rollouts.rebuilds.sources import Builds
from buildfarm.releases.rollouts.rules.machine import reverted
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout
from buildfarm.settings import Settings
from buildfarm.store import OnlyIf, Records

_FULL = (QueueFullError, RegistryFullError, StorageLimitError, StoreFullError)


class BuildFarm(Builds, Protocol):
    """What of the farm is needed."""

    @property
    def settings(self) -> Settings:
        """Its classes of builds."""

    @property
    def records(self) -> Records:
        """The records of builds, and the newest images."""

    def get(self, build_id: str) -> Build:
        """A build."""

    def cancel(self, build_id: str) -> State:
        """Ends a build."""

    def submit_if(self, only_if: OnlyIf | None, request: Request, build_id: str | None) -> Build:
        """Accepts a build."""


@dataclass(frozen=True)
class CampaignBuilds:
    """Every method raises StoreError, and RegistryError if an archived build cannot be read."""

    farm: BuildFarm

    def submit(self, app: App, request: BuildRequest, rollout: Rollout) -> App:
        """Submits the build that the app is noted for; the app as it is if that is done, else with the reason.

        A build of the tenant that is newer goes before it: then nothing is submitted, and the app waits.
        """
        try:
            self.farm.submit_if(OnlyIf(app.previous, rollout.id, rollout.revision), request, app.build)
        except UnconfirmedError:  # it was accepted
            return app
        except ConflictError:
            return waits(app, "a build of it is under way, or has just published")
        except _FULL as error:
            return waits(app, error.message)
        except RequestError as error:
            return replace(app, state=AppState.NOT_MOVABLE, build="", reasons=(error.message,))
        return app

    def followed(self, app: App, rollout: Rollout) -> App:
        """An app that is being rebuilt, with what has become of its build; its tag moves as after any build."""
        try:
            build = self.farm.get(app.build)
        except NotFoundError:  # the node died before it was submitted, or Redis lost it
            return waits(app, "its build is to be submitted again")
        if not build.state.final:
            return app
        if build.state is State.SUPERSEDED:
            return waits(app, f"a newer build took the place of {build.id}")
        if build.result is None or build.state is not State.SUCCEEDED:
            why = build.failure.message if build.failure else "it was cancelled"
            return replace(reverted(app, f"build {build.id}: {why}"), wave=rollout.wave)
        image, newest = str(build.result.digest), self.farm.records.tag_target(f"apps/{app.name}")
        if newest == app.previous != image:
            return replace(reverted(app, "it was put back on its previous image"), wave=rollout.wave)
        return replace(app, image=image) if newest == image else waits(app, "a newer build has published")

    def stopped(self, app: App) -> bool:
        """Cancels the app's build; whether it has ended without an image."""
        with suppress(NotFoundError, TooLateError):
            self.farm.cancel(app.build)
        try:
            state = self.farm.get(app.build).state
        except NotFoundError:
            return True
        return state.final and state is not State.SUCCEEDED


def waits(app: App, why: str) -> App:
    """The app when its turn is to come again."""
    return replace(app, state=AppState.WAITING, build="", image="", stopped=False, reasons=(why,))
