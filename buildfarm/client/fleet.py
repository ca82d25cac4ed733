"""Rollouts, holds and reports of health over HTTP: both clients' methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TypeVar

from buildfarm.client import rollouts as calls
from buildfarm.client.calls import Call
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import HealthReport
from buildfarm.releases.rollouts.rules.states import AppState
from buildfarm.releases.rollouts.views import HoldView, ImageChange, RolloutApp, RolloutView

T = TypeVar("T")


class Fleet(ABC):
    """The methods of `Client`."""

    @abstractmethod
    def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    def plan_rollout(self, base: str, rules: Parameters | None = None, *, channel: str = "stable") -> RolloutView:
        """Plans to move a channel's apps to ``base``; nothing moves before it is started."""
        return self._ask(calls.plan_rollout(base, rules, channel))

    def plan_rebuild(self, where: str, rules: Parameters | None = None) -> RolloutView:
        """Plans to rebuild the apps whose own layers have a component; nothing is built before it is started."""
        return self._ask(calls.plan_rebuild(where, rules))

    def start_rollout(self, rollout_id: str, *, reason: str = "") -> RolloutView:
        """Starts a planned rollout. Raises ConflictError."""
        return self._ask(calls.deed(rollout_id, "start", reason))

    def pause_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Stops a rollout until it is resumed. Raises ConflictError."""
        return self._ask(calls.deed(rollout_id, "pause", reason))

    def resume_rollout(self, rollout_id: str, reason: str, *, allow: int = 0) -> RolloutView:
        """Lets it go on; ``allow`` more apps of the wave may fail. Raises ConflictError."""
        return self._ask(calls.deed(rollout_id, "resume", reason, allow))

    def abort_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Brings its apps back to their previous images. Raises ConflictError."""
        return self._ask(calls.deed(rollout_id, "abort", reason))

    def rollouts(self) -> list[RolloutView]:
        """The newest rollouts, the newest first."""
        return self._ask(calls.rollouts())

    def rollout(self, rollout_id: str) -> RolloutView:
        """A rollout with its apps' states and the gate's numbers. Raises NotFoundError."""
        return self._ask(calls.rollout(rollout_id))

    def rollout_apps(self, rollout_id: str, states: Collection[AppState] = ()) -> list[RolloutApp]:
        """A rollout's apps; those in one of ``states``, if any are named."""
        return self._ask(calls.rollout_apps(rollout_id, states))

    def report_health(self, digest: str, report: HealthReport) -> bool:
        """Reports what was observed of an app on an image; False if a newer report is known."""
        return self._ask(calls.report_health(digest, report))

    def hold_app(self, tenant: str, app: str, reason: str, *, days: float = 7) -> HoldView:
        """Keeps an app on its base for so many days."""
        return self._ask(calls.hold_app(tenant, app, reason, days))

    def release_app(self, tenant: str, app: str) -> None:
        """Ends a hold."""
        self._ask(calls.release_app(tenant, app))

    def holds(self) -> list[HoldView]:
        """The apps that people hold."""
        return self._ask(calls.holds())

    def image_changes(self, after: str, *, wait_seconds: float = 0) -> list[ImageChange]:
        """Which apps are to run another image, since a position; waits for the next change."""
        return self._ask(calls.image_changes(after, wait_seconds))


class AsyncFleet(ABC):
    """The methods of `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[T]) -> T:
        """Sends a call and reads its answer."""

    async def plan_rollout(self, base: str, rules: Parameters | None = None, *, channel: str = "stable") -> RolloutView:
        """Plans to move a channel's apps to ``base``; nothing moves before it is started."""
        return await self._ask(calls.plan_rollout(base, rules, channel))

    async def plan_rebuild(self, where: str, rules: Parameters | None = None) -> RolloutView:
        """Plans to rebuild the apps whose own layers have a component; nothing is built before it is started."""
        return await self._ask(calls.plan_rebuild(where, rules))

    async def start_rollout(self, rollout_id: str, *, reason: str = "") -> RolloutView:
        """Starts a planned rollout. Raises ConflictError."""
        return await self._ask(calls.deed(rollout_id, "start", reason))

    async def pause_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Stops a rollout until it is resumed. Raises ConflictError."""
        return await self._ask(calls.deed(rollout_id, "pause", reason))

    async def resume_rollout(self, rollout_id: str, reason: str, *, allow: int = 0) -> RolloutView:
        """Lets it go on; ``allow`` more apps of the wave may fail. Raises ConflictError."""
        return await self._ask(calls.deed(rollout_id, "resume", reason, allow))

    async def abort_rollout(self, rollout_id: str, reason: str) -> RolloutView:
        """Brings its apps back to their previous images. Raises ConflictError."""
        return await self._ask(calls.deed(rollout_id, "abort", reason))

    async def rollouts(self) -> list[RolloutView]:
        """The newest rollouts, the newest first."""
        return await self._ask(calls.rollouts())

    async def rollout(self, rollout_id: str) -> RolloutView:
        """A rollout with its apps' states and the gate's numbers. Raises NotFoundError."""
        return await self._ask(calls.rollout(rollout_id))

    async def rollout_apps(self, rollout_id: str, states: Collection[AppState] = ()) -> list[RolloutApp]:
        """A rollout's apps; those in one of ``states``, if any are named."""
        return await self._ask(calls.rollout_apps(rollout_id, states))

    async def report_health(self, digest: str, report: HealthReport) -> bool:
        """Reports what was observed of an app on an image; False if a newer report is known."""
        return await self._ask(calls.report_health(digest, report))

    async def hold_app(self, tenant: str, app: str, reason: str, *, days: float = 7) -> HoldView:
        """Keeps an app on its base for so many days."""
        return await self._ask(calls.hold_app(tenant, app, reason, days))

    async def release_app(self, tenant: str, app: str) -> None:
        """Ends a hold."""
        await self._ask(calls.release_app(tenant, app))

    async def holds(self) -> list[HoldView]:
        """The apps that people hold."""
        return await self._ask(calls.holds())

    async def image_changes(self, after: str, *, wait_seconds: float = 0) -> list[ImageChange]:
        """Which apps are to run another image, since a position; waits for the next change."""
        return await self._ask(calls.image_changes(after, wait_seconds))
