"""Goes through rollouts: looks at planned ones, moves apps in waves, takes reports, and brings apps back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from buildfarm.errors import RegistryError
from buildfarm.releases.facts.pair import UNREAD_BASE
from buildfarm.releases.rollouts.changes import Announcement, Change
from buildfarm.releases.rollouts.channel import follow_channel
from buildfarm.releases.rollouts.hosts import Hosts
from buildfarm.releases.rollouts.mover import Composed, Mover, announcement, withdrawal
from buildfarm.releases.rollouts.rebuilds.campaign import Campaign
from buildfarm.releases.rollouts.rebuilds.steps import PASS_SECONDS, RebuildSteps
from buildfarm.releases.rollouts.rules.machine import ENGINE, Move, Turn, Wait, announced, expired, next_step
from buildfarm.releases.rollouts.rules.states import READY, App, AppState, Phase, Rollout
from buildfarm.releases.rollouts.watch import Watch
from buildfarm.telemetry import Logger

_BATCH = 32  # apps between two looks at whether this node still has the duty
_GONE_BACK = "it is on its previous image again"


class _ChangedError(Exception):
    """A person or another node has changed the rollout: the next turn reads it anew."""


@dataclass
class Engine(RebuildSteps):
    """One node at a time does it. Two at once do no harm: each change is made only to what its maker has read."""

    mover: Mover
    watch: Watch
    is_mine: Callable[[], bool]
    log: Logger
    _known: dict[str, tuple[int, dict[str, App]]] = field(default_factory=dict)  # revision and apps of rollouts
    _is_behind: bool = True  # the channel's tag may be: this node, or the one before it, could not move it

    @property
    def campaign(self) -> Campaign:
        """What campaigns do with apps."""
        return self.watch.campaign

    def was_unhealthy(self, app: App, now: float) -> bool:
        """Whether the app is unhealthy on the image that it is still on."""
        return self.watch.was_unhealthy(app, now)

    def turn(self) -> None:
        """Does what can be done now. Raises StoreError and RegistryError."""
        if not self.is_mine():
            self._is_behind = True
            return
        newest = self.mover.rollouts.all()
        # Plans come last: those that move must not wait while all apps are looked at.
        unfinished = sorted((one for one in newest if not one.phase.final), key=lambda one: one.phase is Phase.PLANNED)
        self.mover.begin({one.id for one in unfinished})
        self._known = {one.id: self._known[one.id] for one in unfinished if one.id in self._known}
        if unfinished:
            self.watch.refresh(self.mover.rollouts.database.now())
        failed: list[RegistryError] = []
        for rollout in unfinished:
            try:
                self._look(rollout) if rollout.phase is Phase.PLANNED else self._go(rollout)
            except _ChangedError:
                self._known.pop(rollout.id, None)
            except RegistryError as error:  # the others go on
                failed.append(error)
        failed += [*self.mover.trouble.values(), *self._follow(newest)]
        if failed:
            raise failed[0]

    def _follow(self, rollouts: Sequence[Rollout]) -> list[RegistryError]:
        """Tries the channel's tag again; what the registry says if it fails."""
        if self._is_behind:
            bases = [one.base for one in rollouts if one.phase is Phase.COMPLETE]
            try:
                follow_channel(self.mover.rebaser.registry, self.mover.rollouts.database, bases)
            except RegistryError as error:
                return [error]
            self._is_behind = False
        return []

    def _look(self, rollout: Rollout) -> None:
        if ended := expired(rollout, self.mover.rollouts.database.now()):
            self._turned(rollout, ended.rollout)
            return
        apps = self._apps(rollout)
        unchecked = self._spared((app for app in apps.values() if app.state is AppState.UNCHECKED), rollout)
        until = self.mover.clock() + PASS_SECONDS
        for start in range(0, len(unchecked), _BATCH):
            if not self.is_mine() or self.mover.clock() > until:
                return
            rollout, _ = self._composed(rollout, unchecked[start : start + _BATCH], push=False)
        self.mover.end_pass(rollout.id)
        held = self.watch.changed(rollout, apps, self.mover.rollouts.database.now())
        checked = rollout.checked or all(app.state is not AppState.UNCHECKED for app in apps.values())
        is_missing = not rollout.checked or UNREAD_BASE in rollout.differences
        differences = self.mover.differences(rollout) if checked and is_missing else rollout.differences
        after = replace(rollout, checked=checked, differences=differences)
        if held or after != rollout:
            self._write(Change(rollout, after, held))

    def _go(self, rollout: Rollout) -> None:
        apps, now = self._apps(rollout), self.mover.rollouts.database.now()
        if known := self.watch.changed(rollout, apps, now):
            kept = {app.name: app.kept_base for app in known if app.state is AppState.REVERTED}
            rollout = self._write(Change(rollout, rollout, known, builds_on={} if rollout.rebuilds else kept))
        if rollout.rebuilds and rollout.phase.moves:
            rollout = self._arrivals(rollout)
        until = self.mover.clock() + PASS_SECONDS
        while self.is_mine():
            put_off = {app.name for app in apps.values() if self.mover.is_put_off(app, rollout)}
            now = self.mover.rollouts.database.now()
            hosts = Hosts(self.mover.rollouts.database).awaited(rollout, now)
            step = next_step(rollout, apps, self.watch.health, now, put_off, hosts=hosts)
            if isinstance(step, Turn):
                rollout = self._turned(rollout, step.rollout)
                continue
            if isinstance(step, Wait) or not (spared := self._spared(step.apps, rollout)[:_BATCH]):
                self.mover.end_pass(rollout.id)
                return
            if isinstance(step, Move) and self.mover.clock() > until:
                return
            move = self._rebuild if rollout.rebuilds else self._move
            rollout = move(rollout, spared) if isinstance(step, Move) else self._revert(rollout, spared)

    def _spared(self, apps: Iterable[App], rollout: Rollout) -> list[App]:
        """These without those that are looked at later."""
        return [app for app in apps if not self.mover.is_put_off(app, rollout)]

    def _turned(self, rollout: Rollout, after: Rollout) -> Rollout:
        self.log.info("rollout", rollout=after.id, phase=after.phase, wave=after.wave + 1, reason=after.reason)
        apps = self._apps(rollout)
        if after.rebuilds:  # it has changed no base
            return self._write(Change(rollout, after))
        if after.phase is Phase.ABORTED:
            kept = {app.name: app.kept_base for app in apps.values() if app.announced_at}
            return self._write(Change(rollout, after, builds_on=kept))
        if after.phase is not Phase.COMPLETE:
            return self._write(Change(rollout, after))
        change = Change(rollout, after, moves_channel=True, builds_on=dict.fromkeys(apps, ""))
        answer = self.mover.rollouts.change(change)
        if answer == "channel":
            why = f"the channel {rollout.channel} is no longer on {rollout.source}: a person has moved it"
            paused = replace(after, phase=Phase.PAUSED, paused_in=rollout.phase, actor=ENGINE, reason=why)
            return self._write(Change(rollout, paused))
        if answer != "done":
            raise _ChangedError
        try:
            follow_channel(self.mover.rebaser.registry, self.mover.rollouts.database, [after.base])
        except RegistryError as error:
            self._is_behind = True
            self.log.warning("channel_tag_not_moved", base=after.base, reason=error.message)
        return change.written

    def _move(self, rollout: Rollout, apps: Sequence[App]) -> Rollout:
        rollout, composed = self._composed(rollout, apps, push=True)
        kept = self.mover.rollouts.builds_on([one.app.name for one in composed])
        sent: list[Composed] = []
        try:
            for one, base in zip(composed, kept, strict=True):
                if one.move is not None:
                    app = self._announced(rollout, one.app, base)
                    rollout, moved = self._announce(rollout, announcement(rollout, app, one.move))
                    sent += [one] if moved else []
        finally:
            self.mover.tags(sent)
        return rollout

    def _composed(self, rollout: Rollout, apps: Sequence[App], *, push: bool) -> tuple[Rollout, list[Composed]]:
        """Looks at these apps, and keeps what is new of them."""
        before = self._apps(rollout)
        look = self.campaign.looked(apps, rollout) if rollout.rebuilds else self.mover.compose(apps, rollout, push=push)
        composed = list(look)
        changed = [one.app for one in composed if one.app != before[one.app.name]]
        return self._write(Change(rollout, rollout, changed)) if changed else rollout, composed

    def _announced(self, rollout: Rollout, app: App, builds_on: str) -> App:
        now = self.mover.rollouts.database.now()
        kept_base = app.kept_base if builds_on == rollout.base else builds_on
        return announced(replace(app, kept_base=kept_base), now, was_unhealthy=self.was_unhealthy(app, now))

    def _revert(self, rollout: Rollout, apps: Sequence[App]) -> Rollout:
        unhealthy = f"it became unhealthy on the {'rebuilt image' if rollout.rebuilds else 'new base'}"
        why = rollout.reason if rollout.phase is Phase.ABORTING else unhealthy
        sent: list[Composed] = []
        try:
            back = self.campaign.back(apps, rollout) if rollout.rebuilds else self.mover.back(apps, rollout.base)
            for one in back:
                if one.app.name in self.mover.trouble or (one.move is None and one.app.state is AppState.BUILDING):
                    continue
                if one.move is None:
                    kept = {} if rollout.rebuilds else {one.app.name: one.app.kept_base}
                    rollout = self._write(Change(rollout, rollout, [one.app], builds_on=kept))
                    continue
                rollout, moved = self._announce(rollout, withdrawal(rollout, one.app, one.move, why))
                sent += [one] if moved else []
        finally:
            self.mover.tags(sent)
        return rollout

    def _announce(self, rollout: Rollout, move: Announcement) -> tuple[Rollout, bool]:
        """Whether it was announced; else a build has published meanwhile, and the app's turn comes again."""
        change = Change(rollout, rollout, move=move)
        answer = self.mover.rollouts.change(change)
        if answer == "done":
            self._keep(change, [move.app])
            return change.written, True
        if answer == "other":
            before = self._apps(rollout)[move.app.name]
            again = replace(before, state=AppState.WAITING) if before.state in READY else before
            return self._write(Change(rollout, rollout, [again])), False
        raise _ChangedError

    def _write(self, change: Change) -> Rollout:
        if self.mover.rollouts.change(change) != "done":
            raise _ChangedError
        self._keep(change, change.apps)
        return change.written

    def _keep(self, change: Change, apps: Sequence[App]) -> None:
        known = self._known[change.after.id][1]
        known.update({app.name: app for app in apps})
        self._known[change.after.id] = (change.written.revision, known)

    def _apps(self, rollout: Rollout) -> dict[str, App]:
        known = self._known.get(rollout.id)
        if known is None or known[0] != rollout.revision:
            self._known[rollout.id] = known = (rollout.revision, self.mover.rollouts.apps(rollout.id))
        return known[1]
