"""A campaign's steps of the engine: builds are submitted, and what they made is announced. Part of `Engine`."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from buildfarm.errors import RegistryError, RequestError
from buildfarm.model import BuildRequest
from buildfarm.releases.rollouts.changes import Announcement, Change
from buildfarm.releases.rollouts.mover import Composed
from buildfarm.releases.rollouts.rebuilds.attempts import (
    AGAIN_SECONDS,
    NotSubmittedError,
    left_out,
    others_left_out,
    refused,
)
from buildfarm.releases.rollouts.rebuilds.campaign import Campaign
from buildfarm.releases.rollouts.rules.states import READY, App, AppState, Rollout

PASS_SECONDS = 30.0  # of a turn for one rollout; health and other rollouts wait meanwhile


class RebuildSteps(ABC):
    """Every change is written before the next one is made, so that another node can go on anywhere."""

    is_mine: Callable[[], bool]  # whether this node still has the duty

    @property
    @abstractmethod
    def campaign(self) -> Campaign:
        """What campaigns do with apps."""

    @abstractmethod
    def was_unhealthy(self, app: App, now: float) -> bool:
        """Whether the app is unhealthy on the image before."""

    @abstractmethod
    def _apps(self, rollout: Rollout) -> dict[str, App]:
        """The rollout's apps."""

    @abstractmethod
    def _write(self, change: Change) -> Rollout:
        """Makes a change."""

    @abstractmethod
    def _announce(self, rollout: Rollout, move: Announcement) -> tuple[Rollout, bool]:
        """Announces an app's image."""

    @abstractmethod
    def _composed(self, rollout: Rollout, apps: Sequence[App], *, push: bool) -> tuple[Rollout, list[Composed]]:
        """Looks at apps."""

    def _rebuild(self, rollout: Rollout, apps: Sequence[App]) -> Rollout:
        """Notes each app's build before it submits it: a build that was not submitted is found missing."""
        rollout, looked = self._composed(rollout, apps, push=True)
        ready = [one for one in looked if one.request is not None]
        noted = [replace(one.app, state=AppState.BUILDING, build=secrets.token_hex(8)) for one in ready]
        if not noted:
            return rollout
        rollout = self._write(Change(rollout, rollout, noted))
        to_come = {app.name for app in noted}
        for one, app in zip(ready, noted, strict=True):
            if one.request is not None and (changed := self._submitted(rollout, app, one.request, to_come)):
                rollout = self._write(Change(rollout, rollout, changed))
            to_come.remove(app.name)
        return rollout

    def _submitted(self, rollout: Rollout, app: App, request: BuildRequest, to_come: Container[str]) -> list[App]:
        """The apps that change because the build was refused. ``to_come`` are noted and not submitted, as this one."""
        try:
            self.campaign.builds.submit(app, request, rollout)
        except NotSubmittedError as error:
            known = self._apps(rollout).values()
            under_way = [one for one in known if one.state is AppState.BUILDING and one.name not in to_come]
            after = refused(app, error, under_way)
            also = [one for one in known if error.by_tenant and one.tenant == app.tenant and one.state in READY]
            for one in (after, *also):
                self.campaign.mover.put_off(one, rollout, seconds=AGAIN_SECONDS * error.hours_max)
            is_over = error.by_tenant and after.state is AppState.NOT_MOVABLE
            return [after, *(others_left_out(after, known, after.reasons[0]) if is_over else ())]
        except RegistryError as error:  # if it was not accepted, its turn comes again
            self.campaign.mover.trouble[app.name] = error
        except RequestError as error:
            return [left_out(app, error.message)]
        return []

    def _arrivals(self, rollout: Rollout) -> Rollout:
        """Announces images that were built and no longer have the component, and withdraws those that have."""
        now, sent = self.campaign.mover.rollouts.database.now(), list[Composed]()
        until = self.campaign.mover.clock() + PASS_SECONDS
        built = [app for app in self._apps(rollout).values() if app.state is AppState.BUILDING and app.image]
        try:
            for app in built:
                if self.campaign.mover.is_put_off(app, rollout):
                    continue
                if not self.is_mine() or self.campaign.mover.clock() > until:
                    break
                was_unhealthy = self.was_unhealthy(app, now)
                found = self.campaign.arrival(app, rollout, now, was_unhealthy=was_unhealthy)
                if isinstance(found, Announcement):
                    rollout, moved = self._announce(rollout, found)
                    sent += [Composed(found.app)] if moved and not found.is_there else []
                elif found != app:
                    rollout = self._write(Change(rollout, rollout, [found]))
        finally:
            self.campaign.mover.tags(sent)
        return rollout
