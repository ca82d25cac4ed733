"""What a campaign does with apps: looks at them, checks what was built, and brings them back."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import NotFoundError, RegistryError
from buildfarm.model import BuildRequest
from buildfarm.releases.facts.check import NoFactsError
from buildfarm.releases.facts.components.image import ImageReader
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Moves
from buildfarm.releases.rollouts.changes import Announcement
from buildfarm.releases.rollouts.mover import Composed, Mover, side_by_side
from buildfarm.releases.rollouts.rebuilds.attempts import waits
from buildfarm.releases.rollouts.rebuilds.builds import CampaignBuilds
from buildfarm.releases.rollouts.rebuilds.following import Following
from buildfarm.releases.rollouts.rebuilds.held import HeldBuilds
from buildfarm.releases.rollouts.rebuilds.sources import NoSourceError, last_source
from buildfarm.releases.rollouts.rules.machine import announced, reverted
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout
from buildfarm.sources.address import ArtifactSource

if TYPE_CHECKING:
    from buildfarm.releases.rollouts.rebuilds import contents
    from buildfarm.releases.rollouts.rebuilds.contents import Found
else:  # it compares versions of components, which most nodes never do
    contents = LazyModule("buildfarm.releases.rollouts.rebuilds.contents")


@dataclass(frozen=True)
class Campaign:
    """Raises StoreError. An app that the registry fails for stays as it is; the others go on."""

    mover: Mover
    builds: CampaignBuilds
    reader: ImageReader
    held: HeldBuilds = field(default_factory=HeldBuilds)

    def looked(self, apps: Sequence[App], rollout: Rollout) -> Iterator[Composed]:
        """Each app that can be rebuilt with the request for it, and of the others why not."""
        return side_by_side(lambda app: self._looked(app, rollout), apps)

    def followed(self, apps: Mapping[str, App], rollout: Rollout, now: float, holds: Container[str]) -> list[App]:
        """See `Following`."""
        return Following(self.mover, self.builds, rollout, self.held).changed(apps, now, holds)

    def there(self, app: App, rollout: Rollout) -> App:
        """A rebuilt app whose newest image is another one by now, such as that of a newer build."""
        if self.mover.is_put_off(app, rollout):
            return app
        newest = self._newest(app)
        try:
            found = self._found(app, newest, rollout)
        except NotFoundError as error:
            return replace(app, state=AppState.UNMOVED, reasons=(error.message,))
        if isinstance(found, App):
            return app
        if found.own:
            return waits(app, f"another image is its newest one, which has {found.own}")
        return replace(app, image=newest, rebuilt=True)

    def arrival(self, app: App, rollout: Rollout, now: float, *, was_unhealthy: bool) -> Announcement | App:
        """How a built app goes on: its image is announced, or, if it still has the component, the one before."""
        try:
            found = self._found(app, app.image, rollout)
        except NotFoundError as error:
            found = replace(app, state=AppState.NOT_MOVABLE, reasons=(error.message,))
        if isinstance(found, App):
            is_over = found.state is AppState.NOT_MOVABLE
            return self._withdrawn(app, rollout, found.reasons[0]) if is_over else found
        before = self._before(found, app, rollout)
        if isinstance(before, App) and before.state is not AppState.NOT_MOVABLE:
            return before
        if why := _still_has(found, before):
            return self._withdrawn(app, rollout, why)
        moved = replace(announced(app, now, was_unhealthy=was_unhealthy), refused_seconds=0.0, farm_failures=0)
        if found.unread:
            moved = replace(moved, reasons=(f"components of some files are not known: {found.unread}",))
        entry = self._entry(app, rollout, image=app.image, previous=app.previous, base=found.base)
        return Announcement(moved, entry, None, f"rollout {rollout.id}", is_there=True)

    def back(self, apps: Sequence[App], rollout: Rollout) -> Iterator[Composed]:
        """How each app goes back; of one whose build has not ended, nothing yet."""
        return side_by_side(lambda app: self._back(app, rollout), apps)

    def _looked(self, app: App, rollout: Rollout) -> Composed:
        try:
            newest = self._newest(app)
            found = self._found(app, newest, rollout)
            if isinstance(found, App):
                return Composed(found)
            if not found.own:
                return Composed(_without(app, found))
            built = Moves.of([self.mover.rebaser.rebases.of(*app.name.split("/"))]).origin(newest)
            request = last_source(self.builds.farm, app.name, built, self.builds.farm.settings.classes)
        except NoSourceError as error:
            return Composed(replace(app, state=AppState.NOT_MOVABLE, reasons=(f"{error}",)))
        except NotFoundError as error:
            return Composed(replace(app, state=AppState.UNMOVED, reasons=(error.message,)))
        except RegistryError as error:
            self.mover.trouble[app.name] = error
            return Composed(app)
        ready = replace(
            app, state=AppState.WAITING, build="", image="", previous=newest, previous_base=found.base, built=built,
            source=_source(request), rebuilt=False, reasons=(),
        )  # fmt: skip
        return Composed(ready, request=request)

    def _found(self, app: App, image: str, rollout: Rollout, key: str = "") -> Found | App:
        """What is in an image; the app as it waits for that, or not movable if nodes read no more.

        An app of which two images are waited for needs a ``key`` for the second: either wait has its own end.
        """
        waited = (rollout.id, f"{app.name} {key}".rstrip())
        try:
            found = contents.find(self.reader, app.name, image, rollout.rebuilds)
        except NoFactsError as error:
            return self.mover.waits_for_facts(waited, app, error)
        except RegistryError as error:
            self.mover.trouble[app.name] = error
            return app
        self.mover.unread.pop(waited, None)
        return found

    def _before(self, found: Found, app: App, rollout: Rollout) -> Found | App:
        """What was in the image before, if that matters: a file that could not be read there may stay so."""
        if found.own or not found.unclear:
            return found
        try:
            return self._found(app, app.previous, rollout, "before")
        except NotFoundError:
            return found

    def _withdrawn(self, app: App, rollout: Rollout, why: str) -> Announcement | App:
        back = replace(reverted(app, why), wave=rollout.wave)
        entry = self._entry(app, rollout, image=app.previous, previous=app.image, base=app.previous_base)
        return back if app.image == app.previous else Announcement(back, entry, None, why)

    def _back(self, app: App, rollout: Rollout) -> Composed:
        if app.image and self._newest(app) == app.image and not app.rebuilt:
            entry = self._entry(app, rollout, image=app.previous, previous=app.image, base=app.previous_base)
            return Composed(app, entry)
        if app.state is not AppState.BUILDING:
            return Composed(reverted(app, "another image has taken the place of the rebuilt one"))
        try:
            if self.builds.stopped(app):
                return Composed(reverted(app, "its build was ended"))
        except RegistryError as error:
            self.mover.trouble[app.name] = error
        self.mover.put_off(app, rollout)
        return Composed(app)

    def _newest(self, app: App) -> str:
        return self.builds.farm.records.tag_target(f"apps/{app.name}")

    def _entry(self, app: App, rollout: Rollout, *, image: str, previous: str, base: str) -> Rebase:
        at = self.mover.rollouts.database.now()
        return Rebase(at=at, image=image, previous=previous, built=app.built, base=base, previous_base="", moved=True)


def _source(request: BuildRequest) -> str:
    """The digest of what collections of the registry must leave until the app is rebuilt."""
    return str(request.source.digest) if isinstance(request.source, ArtifactSource) else ""


def _still_has(found: Found, before: Found | App) -> str:
    """Why the rebuilt image cannot stay; empty if nothing speaks against it."""
    if found.own:
        return f"the rebuilt image still has {found.own}"
    news = found.unclear - (frozenset() if isinstance(before, App) else before.unclear)
    more = f" and {len(news) - 1} more" if len(news) > 1 else ""
    return f"it is not known whether the rebuilt image still has it: {min(news)}{more}" if news else ""


def _without(app: App, found: Found) -> App:
    """An app that is not rebuilt."""
    if found.unread:
        why = f"it is not known whether it has it; components of some files are not known: {found.unread}"
        return replace(app, state=AppState.NOT_MOVABLE, reasons=(why,))
    if found.of_base:
        why = f"its base brings {found.of_base}: a rollout to another base mends it"
        return replace(app, state=AppState.FROZEN, reasons=(why,))
    return replace(app, state=AppState.UNMOVED, reasons=("its own layers do not have it",))
