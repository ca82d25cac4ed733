"""Rollouts, holds and reports of health as users of the farm see them. Part of `Farm`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING

from buildfarm import LazyModule

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry
    from buildfarm.releases.rollouts import hosts, outside, service
    from buildfarm.releases.rollouts.rules.parameters import Parameters
    from buildfarm.releases.rollouts.rules.reports import HealthReport
    from buildfarm.releases.rollouts.rules.states import AppState
    from buildfarm.releases.rollouts.views import AnnouncedBase, HoldView, ImageChange, RolloutApp, RolloutView
    from buildfarm.settings import Settings
    from buildfarm.store import Records
else:  # most calls of the farm concern no rollout
    hosts = LazyModule("buildfarm.releases.rollouts.hosts")
    outside = LazyModule("buildfarm.releases.rollouts.outside")
    service = LazyModule("buildfarm.releases.rollouts.service")


class Fleet(ABC):
    """These methods of the farm; all raise StoreError, and NotFoundError for what is unknown.

    Who does it is the user of this process; the API names the token instead (`service.Service`).
    """

    records: Records
    settings: Settings

    @property
    @abstractmethod
    def registry(self) -> Registry:
        """The farm's registry."""

    @property
    @abstractmethod
    def quick_registry(self) -> Registry:
        """The same one for calls that others wait for."""

    @abstractmethod
    def builder(self) -> str:
        """The base of the channel `stable`."""

    def plan_rollout(self, base: str, rules: Parameters | None = None, *, channel: str = "stable") -> RolloutView:
        """Plans to move all apps of a channel to ``base``, as repository:tag or repository@digest; nothing moves yet.

        The leading node looks at each app; then the rollout can be started. Raises RequestError and RegistryError.
        """
        return self._rollouts.plan(base, rules, channel)

    def plan_rebuild(self, where: str, rules: Parameters | None = None) -> RolloutView:
        """Plans to rebuild the apps whose own layers have a component, such as npm/lodash@<4.17.21; nothing is built.

        The leading node looks at each app; then the campaign can be started, as a rollout. Raises RequestError.
        """
        return self._rollouts.plan_rebuild(where, rules)

    def start_rollout(self, rollout_id: str, *, reason: str = "") -> RolloutView:
        """Starts a planned rollout; one that is under way in the channel is superseded. Raises ConflictError."""
        return self._rollouts.start(rollout_id, reason)

    def pause_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Stops a rollout until it is resumed. Raises ConflictError, and RequestError without a reason."""
        return self._rollouts.pause(rollout_id, reason)

    def resume_rollout(self, rollout_id: str, reason: str, *, allow: int = 0) -> RolloutView:
        """Lets a paused rollout go on; ``allow`` more apps of the wave may fail. Raises likewise."""
        return self._rollouts.resume(rollout_id, reason, allow)

    def abort_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Brings a rollout's apps back to the images that they were on before. Raises likewise."""
        return self._rollouts.abort(rollout_id, reason)

    def rollouts(self) -> list[RolloutView]:
        """The newest rollouts, the newest first."""
        return self._rollouts.newest()

    def rollout(self, rollout_id: str) -> RolloutView:
        """A rollout with the number of its apps in each state, and the gate's numbers."""
        return self._rollouts.show(rollout_id)

    def rollout_apps(self, rollout_id: str, states: Collection[AppState] = ()) -> list[RolloutApp]:
        """A rollout's apps in their order; those in one of ``states``, if any are named."""
        return self._rollouts.apps(rollout_id, states)

    def report_health(self, digest: str, report: HealthReport) -> bool:
        """Takes what a reporter observed of an app on an image; False if a newer report of it is known.

        Raises NotFoundError for an image that is not the app's, RequestError and RegistryError.
        """
        return self._rollouts.report(digest, report)

    def hold_app(self, tenant: str, app: str, reason: str, *, days: float = 7) -> HoldView:
        """Keeps an app on its base for so many days, whatever rollouts there are. Raises RequestError."""
        return self._rollouts.hold(f"{tenant}/{app}", reason, days)

    def release_app(self, tenant: str, app: str) -> None:
        """Ends a hold."""
        self._rollouts.release(f"{tenant}/{app}")

    def holds(self) -> list[HoldView]:
        """The apps that people hold."""
        return self._rollouts.holds()

    def image_changes(self, after: str, *, wait_seconds: float = 0) -> list[ImageChange]:
        """Which apps are to run another image, since a position; waits for the next change, up to 4 s."""
        return self._rollouts.changes(after, wait_seconds)[0]

    def announced_bases(self) -> list[AnnouncedBase]:
        """The bases that hosts which run apps should have, those that apps move to next first."""
        return hosts.announced(self)

    def report_host(self, host: str, bases: Collection[str]) -> list[AnnouncedBase]:
        """Takes which announced bases, as repository@digest, a host has; returns the announced ones. RequestError."""
        return hosts.take_report(self, host, bases)

    @property
    def _rollouts(self) -> service.Service:
        return service.Service(self, outside.local_user())
