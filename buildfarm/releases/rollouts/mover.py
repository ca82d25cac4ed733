"""Moves apps of a rollout: images are composed side by side, and then announced one step after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from buildfarm.errors import NotFoundError, NotRebasableError, RegistryError
from buildfarm.model import BuildRequest
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.releases.base import Base
from buildfarm.releases.facts.check import NoFactsError
from buildfarm.releases.facts.progress import UNREAD_SECONDS
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebase import Rebaser
from buildfarm.releases.rebases import Moves
from buildfarm.releases.rollouts.changes import Announcement
from buildfarm.releases.rollouts.rules.machine import reverted
from buildfarm.releases.rollouts.rules.states import App, AppState, Rollout
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.signing.documents import Sent
from buildfarm.telemetry import logger

THREADS = 8
# How soon an app is looked at again whose files have not been read yet: after a quarter of the time that it has waited.
_AGAIN_SECONDS, _AGAIN_SECONDS_MAX = 10.0, 120.0

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Composed:
    """What became of an app when its image was looked at; without a move there is nothing to announce."""

    app: App
    move: Rebase | None = None
    sent: Sent = field(default_factory=dict)  # media types and bytes of its documents, by digest
    request: BuildRequest | None = None  # of an app that is rebuilt instead


@dataclass(frozen=True)
class Unread:
    """An app whose files have not been read yet; times of the mover's clock."""

    since: float
    progress_at: float  # when nodes were last known to read layers
    again_at: float


@dataclass(frozen=True)
class Mover:
    """Raises StoreError. An app that the registry fails for stays as it is; the others go on."""

    rebaser: Rebaser
    rollouts: Rollouts
    trouble: dict[str, RegistryError] = field(default_factory=dict)  # by app, since the engine's turn began
    unread: dict[tuple[str, str], Unread] = field(default_factory=dict)  # by rollout and app
    later: dict[tuple[str, str], float] = field(default_factory=dict)  # when to look at apps that are put off, likewise
    passed: dict[str, set[str]] = field(default_factory=dict)  # unread apps that a pass has looked at, by rollout
    clock: Callable[[], float] = time.monotonic

    def begin(self, rollouts: Collection[str]) -> None:
        """A turn of the engine, with these rollouts."""
        self.trouble.clear()
        for known in (self.unread, self.later):
            for key in [key for key in known if key[0] not in rollouts]:
                del known[key]
        for rollout in self.passed.keys() - set(rollouts):
            del self.passed[rollout]

    def end_pass(self, rollout: str) -> None:
        """All of its apps that were due have been looked at. A pass can take several turns of the engine."""
        self.passed.pop(rollout, None)

    def differences(self, rollout: Rollout) -> tuple[str, ...]:
        """What the new base lacks of the channel's. Raises RegistryError."""
        if self.rebaser.facts is None or rollout.rebuilds:
            return ()
        try:
            source = self.rebaser.base(*split(rollout.source))
        except (NotInRegistryError, ValueError):
            return ("the two bases were not compared: the registry no longer has the channel's",)
        return self.rebaser.facts.differences(source, self.base_of(rollout))

    def base_of(self, rollout: Rollout) -> Base:
        """The rollout's base. Raises RegistryError."""
        return self.rebaser.base(*split(rollout.base))

    def compose(self, apps: Sequence[App], rollout: Rollout, *, push: bool) -> Iterator[Composed]:
        """Sends the image of each on the new base; no tag moves. Without ``push``: whether each app can be moved.

        To the channel's own base, apps go back from a base that the channel has never been on. Raises RegistryError.
        """
        base, older = self.base_of(rollout), rollout.base == rollout.source
        needs_facts = not (older or rollout.parameters.without_facts)
        return side_by_side(
            lambda app: self._compose(app, base, push=push, older=older, needs_facts=needs_facts, of=rollout.id), apps
        )

    def is_put_off(self, app: App, rollout: Rollout) -> bool:
        """Whether to look at it later: the registry failed for it, or its files have not been read yet."""
        if app.name in self.trouble or app.name in self.passed.get(rollout.id, ()):
            return True
        key, now = (rollout.id, app.name), self.clock()
        unread = self.unread.get(key)
        return self.later.get(key, now) > now or (unread is not None and unread.again_at > now)

    def put_off(self, app: App, rollout: Rollout, *, seconds: float = 0.0) -> None:
        """Nothing more is done with it in this pass, and for so long."""
        self.passed.setdefault(rollout.id, set()).add(app.name)
        if seconds:
            key, until = (rollout.id, app.name), self.clock() + seconds
            self.later[key] = max(self.later.get(key, until), until)

    def tags(self, sent: Iterable[Composed]) -> None:
        """The tags follow the record."""
        list(side_by_side(lambda one: self.rebaser.move_tag(f"apps/{one.app.name}", one.sent), list(sent)))

    def back(self, apps: Sequence[App], base: str) -> Iterator[Composed]:
        """How each app goes back: to the image that it was on before, which needs nothing from the registry.

        If a build has published on the new base since, that build's image is put on the old base.
        """
        targets = self.rollouts.targets([app.name for app in apps])
        return side_by_side(lambda app: self._back(app, targets.get(app.name, ""), base), apps)

    def on_base(self, app: App, base: str) -> App:
        """A moved app whose newest image is another one by now: a build's, or one that a person has chosen."""
        try:
            image = self.rebaser.newest(*app.name.split("/"))
        except (NotFoundError, NotRebasableError) as error:
            return replace(app, state=AppState.UNMOVED, reasons=(error.message,))
        except RegistryError as error:
            self.trouble[app.name] = error
            return app
        if image.base[1] == base.partition("@")[2]:
            return replace(app, image=str(image.digest), rebuilt=True)
        moves = self.rebaser.rebases.of(*app.name.split("/"))
        if app.built and Moves.of([moves]).origin(str(image.digest)) == app.built:
            return reverted(app, "it was put on another base")
        return replace(
            app, state=AppState.WAITING, reasons=("a build that began before has published on another base",)
        )

    def _compose(
        self, app: App, base: Base, *, push: bool, older: bool, needs_facts: bool = False, of: str = ""
    ) -> Composed:
        try:
            image = self.rebaser.newest(*app.name.split("/"))
            move, composed, sent = self.rebaser.plan(app.name, image, base, older=older, needs_facts=needs_facts)
            if not move.moved:
                return Composed(replace(app, state=AppState.UNMOVED, reasons=("it is on the base already",)))
            if push:
                self.rebaser.push(image, base, composed)
        except NotFoundError as error:
            return Composed(replace(app, state=AppState.UNMOVED, reasons=(error.message,)))
        except NoFactsError as error:
            return Composed(self.waits_for_facts((of, app.name), app, error))
        except (NotRebasableError, ValueError, TypeError, AttributeError) as error:
            return Composed(replace(app, state=AppState.NOT_MOVABLE, reasons=(_why_not(app, error),)))
        except RegistryError as error:
            self.trouble[app.name] = error
            self.unread.pop((of, app.name), None)  # nodes could read nothing meanwhile
            return Composed(app)
        self.unread.pop((of, app.name), None)
        known = replace(
            app, state=AppState.COMPOSED if push else AppState.WAITING, image=move.image, previous=move.previous,
            previous_base=move.previous_base, built=move.built, rebuilt=False, reasons=(),
        )  # fmt: skip
        return Composed(known, move, sent)

    def waits_for_facts(self, key: tuple[str, str], app: App, error: NoFactsError) -> App:
        """The app with what it waits for; it does not move if that cannot be known, or if nodes read no more layers."""
        if not error.pending:
            self.unread.pop(key, None)
            return replace(app, state=AppState.NOT_MOVABLE, reasons=(error.message,))
        now, known = self.clock(), self.unread.get(key)
        since = known.since if known else now
        progress_at = known.progress_at if known and not self._is_read() else now
        if now - progress_at > UNREAD_SECONDS:
            self.unread.pop(key, None)
            why = f"{error.message.removesuffix('.')}; no node has read a layer for {UNREAD_SECONDS // 60} minutes."
            return replace(app, state=AppState.NOT_MOVABLE, reasons=(why,))
        pause = min(max((now - since) / 4, _AGAIN_SECONDS), _AGAIN_SECONDS_MAX)
        self.unread[key] = Unread(since, progress_at, now + pause)
        self.passed.setdefault(key[0], set()).add(app.name)
        return replace(app, reasons=(error.why,))

    def _is_read(self) -> bool:
        return self.rebaser.facts is not None and self.rebaser.facts.is_read()

    def _back(self, app: App, newest: str, base: str) -> Composed:
        if newest == app.image and not app.rebuilt:
            move = Rebase(
                at=self.rebaser.records.database.now(), image=app.previous, previous=app.image, built=app.built,
                base=app.previous_base, previous_base=base, moved=True,
            )  # fmt: skip
            return Composed(app, move)
        try:
            image = self.rebaser.newest(*app.name.split("/"))
        except (NotFoundError, NotRebasableError) as error:
            return Composed(reverted(app, error.message))
        except RegistryError as error:
            self.trouble[app.name] = error
            return Composed(app)
        if image.base[1] != base.partition("@")[2]:
            return Composed(reverted(app, "a build has published on another base since"))
        return self._build_back(app)

    def _build_back(self, app: App) -> Composed:
        try:
            found = self._compose(app, self.rebaser.base(*split(app.previous_base)), push=True, older=True)
        except (ValueError, NotInRegistryError):
            why = f"a build has published since, and its old base {app.previous_base} is gone: build the app again"
            return Composed(replace(app, state=AppState.NOT_MOVABLE, reasons=(why,)))
        except RegistryError as error:
            self.trouble[app.name] = error
            return Composed(app)
        return replace(found, app=replace(app, previous=found.move.image)) if found.move else found


def _why_not(app: App, error: Exception) -> str:
    """Why an app cannot be moved. What a node wrote can be anything; the other apps go on."""
    if isinstance(error, NotRebasableError):
        return error.message
    logger().error("image_unreadable", app=app.name, exc_info=error)
    return f"its image cannot be read: {error}".encode(errors="backslashreplace").decode()


def announcement(rollout: Rollout, app: App, move: Rebase) -> Announcement:
    """The move to the new base, on which builds of the app stand from now on."""
    return Announcement(app, move, builds_on=rollout.base, reason=f"rollout {rollout.id}")


def withdrawal(rollout: Rollout, app: App, move: Rebase, why: str) -> Announcement:
    """The way back. A campaign has changed no base of builds."""
    return Announcement(reverted(app, why), move, None if rollout.rebuilds else app.kept_base, reason=why)


def split(base: str) -> tuple[str, str]:
    """A base's repository and its digest."""
    repository, _, digest = base.partition("@")
    return repository, digest


def side_by_side(do: Callable[[S], T], apps: Sequence[S]) -> Iterator[T]:
    """The results for these, in their order."""
    with ThreadPoolExecutor(THREADS, "rollout") as pool:
        yield from pool.map(do, apps)
