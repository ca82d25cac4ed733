"""What orchestrators report of apps and read of them, and the apps that people hold."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from typing import Protocol

from buildfarm.errors import ConflictError, NotFoundError, RequestError
from buildfarm.oci.digest import Digest
from buildfarm.oci.registry import Registry
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.rollouts.feed import ImageChanges
from buildfarm.releases.rollouts.observations import Hold, Holds, Observations
from buildfarm.releases.rollouts.rules import persons
from buildfarm.releases.rollouts.rules.reports import REPORT_SECONDS, HealthReport
from buildfarm.releases.rollouts.views import HoldView, ImageChange
from buildfarm.settings import Settings
from buildfarm.store import Records
from buildfarm.store.database import Database

APPS = "apps/"  # their repositories
WAIT_SECONDS_MAX = 4.0  # less than the 5 s after which a connection to Redis counts as dead

_AHEAD_SECONDS = 300.0
_HOLD_DAYS_MAX = 366


class FarmParts(Protocol):
    """What of the farm is needed."""

    @property
    def settings(self) -> Settings:
        """The farm's."""

    @property
    def records(self) -> Records:
        """The records of builds, and the newest images."""

    @property
    def registry(self) -> Registry:
        """The farm's registry."""

    @property
    def quick_registry(self) -> Registry:
        """The same one for calls that others wait for."""

    def builder(self) -> str:
        """The base of the channel `stable`."""


@dataclass(frozen=True)
class Outside:
    """Raises StoreError, NotFoundError for what is unknown, ConflictError and RequestError."""

    farm: FarmParts
    actor: str  # who does it, for those who read it later

    @property
    def database(self) -> Database:
        """The farm's Redis."""
        return self.farm.records.database

    def report(self, digest: str, report: HealthReport) -> bool:
        """Takes an observation; False if a newer one is known. Raises NotFoundError if the image is not the app's."""
        now = self.database.now()
        if report.observed_at > now + _AHEAD_SECONDS:
            raise RequestError(
                f"The observation is {report.observed_at - now:.0f} s in the future.",
                advice="Set the reporter's clock; observed_at is in seconds since the epoch.",
            )
        if report.observed_at < now - REPORT_SECONDS:
            return False
        newest = self.farm.records.tag_target(f"{APPS}{report.tenant}/{report.app}")
        if digest != newest and not self._is_of(digest, report):
            raise NotFoundError(
                f"The app {report.tenant}/{report.app} has no image {digest[:80]}.",
                advice="GET /v1/apps/{tenant}/{app}/image has the digest that it is to run.",
            )
        return Observations(self.database).put(digest, report)

    def hold(self, app: str, reason: str, days: float, *, by_tenant: bool = False) -> HoldView:
        """Keeps an app on its base for so many days. A tenant cannot change a hold of the farm's operators."""
        if not self.farm.records.tag_target(f"{APPS}{app}"):
            raise NotFoundError(f"The app {app} has no image.", advice="Build it first.")
        if not 0 < days <= _HOLD_DAYS_MAX:
            raise RequestError(f"A hold lasts for more than 0 and at most {_HOLD_DAYS_MAX} days, not {days:g}.")
        self._refuse_tenant(app, by_tenant=by_tenant)
        until = self.database.now() + days * 86_400
        kept = Hold(until, persons.checked(reason, "A hold"), self.actor, by_tenant)
        Holds(self.database).put(app, kept)
        return HoldView(app=app, until=kept.until, reason=kept.reason, actor=kept.actor)

    def release(self, app: str, *, by_tenant: bool = False) -> None:
        """Nobody holds the app any longer. Likewise."""
        self._refuse_tenant(app, by_tenant=by_tenant)
        Holds(self.database).put(app, None)

    def holds(self) -> list[HoldView]:
        """The holds that are not over."""
        found = Holds(self.database).active()
        return [HoldView(app=app, until=one.until, reason=one.reason, actor=one.actor) for app, one in found.items()]

    def changes(self, after: str, wait_seconds: float, tenant: str | None = None) -> tuple[list[ImageChange], str]:
        """Which apps of a tenant, or of all, are to run another image, since a position; and where to go on."""
        return ImageChanges(self.database).read(after, wait_seconds=min(wait_seconds, WAIT_SECONDS_MAX), tenant=tenant)

    def _refuse_tenant(self, app: str, *, by_tenant: bool) -> None:
        held = Holds(self.database).active().get(app) if by_tenant else None
        if held is not None and not held.by_tenant:
            raise ConflictError(
                f"The farm's operators hold the app {app}: {held.reason}", advice="Ask them to release it."
            )

    def _is_of(self, digest: str, report: HealthReport) -> bool:
        moves = Rebases(self.database).of(report.tenant, report.app)
        if any(digest in (one.image, one.previous) for one in moves):
            return True
        try:
            return self.farm.quick_registry.has_manifest(f"{APPS}{report.tenant}/{report.app}", Digest(digest))
        except ValueError as error:
            raise RequestError(f"{digest[:80]!r} is not a digest.", advice="Write it as sha256:…") from error


def local_user() -> str:
    """Who calls from the farm's own machine; a container's user often has a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())
