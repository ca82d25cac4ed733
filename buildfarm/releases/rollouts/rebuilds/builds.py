"""The builds of a campaign: submitted, followed and cancelled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from buildfarm.errors import (
    ConflictError,
    NotFoundError,
    NotServedError,
    QueueFullError,
    RegistryFullError,
    StorageLimitError,
    StoreFullError,
    TooLateError,
    UnconfirmedError,
)
from buildfarm.model import Build, BuildRequest, Request, State
from buildfarm.releases.rollouts.rebuilds.attempts import UNSERVED_HOURS_MAX, NotSubmittedError, waits, without_image
from buildfarm.releases.rollouts.rebuilds.sources import Builds
from buildfarm.releases.rollouts.rules.machine import reverted
from buildfarm.releases.rollouts.rules.states import App, Rollout
from buildfarm.settings import Settings
from buildfarm.store import OnlyIf, Records
from buildfarm.store.admission import Admission

_FARM_FULL = (RegistryFullError, StoreFullError)


class BuildFarm(Builds, Protocol):
    """What of the farm is needed."""

    @property
    def settings(self) -> Settings:
        """Its classes of builds."""

    @property
    def records(self) -> Records:
        """The records of builds, and the newest images."""

    @property
    def admission(self) -> Admission:
        """Whose turn it is."""

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

    def submit(self, app: App, request: BuildRequest, rollout: Rollout) -> None:
        """Submits the build that the app is noted for, unless a build of the tenant is newer.

        Raises NotSubmittedError if it may be accepted later, and RequestError if not.
        """
        try:
            self.farm.submit_if(OnlyIf(app.previous, rollout.id, rollout.revision), request, app.build)
        except UnconfirmedError:  # it was accepted
            return
        except ConflictError as error:
            raise NotSubmittedError("a build of it is under way, or has just published") from error
        except NotServedError as error:
            raise NotSubmittedError(error.message, hours_max=UNSERVED_HOURS_MAX) from error
        except QueueFullError as error:
            raise NotSubmittedError(error.message, by_tenant=True, by_queue=True) from error
        except StorageLimitError as error:
            raise NotSubmittedError(error.message, by_tenant=True) from error
        except _FARM_FULL as error:
            raise NotSubmittedError(error.message, by_farm=True) from error

    def find(self, app: App) -> Build | None:
        """The app's build; None if its node died before it was submitted, or if Redis lost it."""
        try:
            return self.farm.get(app.build)
        except NotFoundError:
            return None

    def followed(self, app: App, build: Build, rollout: Rollout) -> App:
        """An app that is being rebuilt, with what has become of its build; its tag moves as after any build."""
        if not build.state.final:
            return app
        if build.result is None or build.state is not State.SUCCEEDED:
            return without_image(app, build, rollout)
        return self.published(replace(app, image=str(build.result.digest)), rollout)

    def published(self, app: App, rollout: Rollout) -> App:
        """An app whose build has published its image, if the app's tag is on it."""
        newest = self.farm.records.tag_target(f"apps/{app.name}")
        if newest == app.previous != app.image:
            return replace(reverted(app, "it was put back on its previous image"), wave=rollout.wave)
        return app if newest == app.image else waits(app, "a newer build has published")

    def is_held_by_tenant(self, build: Build) -> bool:
        """Whether a held build waits for its tenant's limit while builds of the tenant run."""
        known = self.farm.admission.standing(build)
        return known.tenant_running > 0 and known.tenant_open >= known.tenant_limit

    def stopped(self, app: App) -> bool:
        """Cancels the app's build; whether it has ended without an image."""
        with suppress(NotFoundError, TooLateError):
            self.farm.cancel(app.build)
        try:
            state = self.farm.get(app.build).state
        except NotFoundError:
            return True
        return state.final and state is not State.SUCCEEDED
