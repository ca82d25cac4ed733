"""Rollouts in Redis. Every change is one step, made only if the rollout is still as its caller read it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from buildfarm.errors import ConflictError, NotFoundError, UnconfirmedError
from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.rebases import KEPT_SECONDS, REBASES_MAX
from buildfarm.releases.rollouts.changes import Change
from buildfarm.releases.rollouts.document import decode, decode_app
from buildfarm.releases.rollouts.rules.persons import Deed, pause
from buildfarm.releases.rollouts.rules.states import App, Rollout
from buildfarm.store.database import Database

ROLLOUTS_MAX = 50  # older ones that have ended are removed
CHANGES_MAX = 100_000  # of apps' images

_LOG_MAX = 500
_TRIES = 100  # of a pause beside an engine
_APPS_KEPT_SECONDS = 30 * 86_400  # after a rollout's end: those of a large one are megabytes
_DELIVERIES_MAX = 10_000  # of a tenant, as buildfarm.access.webhooks has it

Answer = Literal["done", "stale", "other", "channel"]


@dataclass(frozen=True)
class Rollouts:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def add(self, draft: Rollout, apps: list[App]) -> Rollout:
        """Keeps a new rollout under the farm's next number."""
        with self.database.failures():
            number = int(self.database.client.incr(self.database.key("rollouts", "number")))
        made = replace(draft, id=f"r{number}", number=number, revision=0)
        self._trim()
        self.change(Change(made, made, apps, is_new=True))
        return self.get(made.id)

    def get(self, rollout_id: str) -> Rollout:
        """Raises NotFoundError."""
        with self.database.failures():
            text: Any = self.database.client.hget(self.database.key("rollout", rollout_id), "header")
        if text is None:
            raise NotFoundError(f"There is no rollout {rollout_id[:40]}.", advice="buildfarm rollouts list shows them.")
        return decode(text)

    def apps(self, rollout_id: str) -> dict[str, App]:
        """The rollout's apps by name."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("rollout", rollout_id) + ":apps")
        return {name: decode_app(name, text) for name, text in found.items()}

    def all(self) -> list[Rollout]:
        """The newest ones, the newest first."""
        return [rollout for rollout in self._found().values() if rollout is not None]

    def _found(self) -> dict[str, Rollout | None]:
        with self.database.failures():
            ids: Any = self.database.client.zrevrange(self.database.key("rollouts"), 0, -1)
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for rollout_id in ids:
                pipeline.hget(self.database.key("rollout", rollout_id), "header")
            found = pipeline.execute() if ids else []
        return {one: None if text is None else decode(text) for one, text in zip(ids, found, strict=True)}

    def log(self, rollout_id: str) -> list[dict[str, Any]]:
        """The changes of its phase, the newest first."""
        with self.database.failures():
            found: Any = self.database.client.lrange(self.database.key("rollout", rollout_id) + ":log", 0, -1)
        return [json.loads(line) for line in found]

    def change(self, change: Change) -> Answer:
        """Makes the change, or says what has changed meanwhile.

        Raises UnconfirmedError if too few replicas of Redis have an app's move, or a change of the phase.
        """
        arguments = (
            change.encode(), _LOG_MAX, KEPT_SECONDS, CHANGES_MAX, REBASES_MAX, KEPT_SECONDS, _DELIVERIES_MAX,
            _APPS_KEPT_SECONDS,
        )  # fmt: skip
        keys = [self.database.key()]
        if change.move is None and change.after.phase is change.before.phase:
            return cast("Answer", self.database.run("rollout", keys, *arguments))
        answer, confirmed = self.database.run_confirmed("rollout", keys, *arguments)
        if answer == "done" and not confirmed:
            what = f"{change.move.app.name} was moved" if change.move else f"{change.after.id} is {change.after.phase}"
            raise UnconfirmedError(
                f"{what}, but too few replicas of Redis had it in time.",
                advice="The rollout goes on when Redis has its replicas again; look at it then.",
            )
        return cast("Answer", answer)

    def active_of(self, app: str) -> list[tuple[Rollout, App]]:
        """The rollouts under way that have this app, with where it stands."""
        with self.database.failures():
            ids: Any = self.database.client.hvals(self.database.key("rollouts", "active"))
            texts = [self.database.client.hget(self.database.key("rollout", one) + ":apps", app) for one in ids]
        found = [(one, text) for one, text in zip(ids, texts, strict=True) if text is not None]
        return [(self.get(one), decode_app(app, str(text))) for one, text in found]

    def builds_on(self, apps: list[str]) -> list[str]:
        """The base that each app's builds stand on because of a rollout; empty: the channel's."""
        if not apps:
            return []
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("app-bases"), apps)
        return [base or "" for base in found]

    def targets(self, apps: list[str]) -> dict[str, str]:
        """Each app's newest image; those without one are left out."""
        if not apps:
            return {}
        with self.database.failures():
            found: Any = self.database.client.hmget(self.database.key("tags"), [f"apps/{app}" for app in apps])
        return {app: digest for app, digest in zip(apps, found, strict=True) if digest}

    def _trim(self) -> None:
        found = self._found()
        expired = [rollout_id for rollout_id, rollout in found.items() if rollout is None]
        idle = sorted((one for one in found.values() if one and not one.phase.active), key=_is_worth_keeping)
        old = [one.id for one in idle[: max(0, len(found) - len(expired) - ROLLOUTS_MAX + 1)]]
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            for rollout_id in (*expired, *old):
                key = self.database.key("rollout", rollout_id)
                pipeline.zrem(self.database.key("rollouts"), rollout_id)
                pipeline.delete(key, f"{key}:apps", f"{key}:log")
            pipeline.execute()


def _is_worth_keeping(rollout: Rollout) -> tuple[bool, int]:
    """The order in which they are removed: first plans that ended before they were started, then the oldest."""
    return rollout.waves > 0 or not rollout.phase.final, rollout.number


def pause_rollouts(database: Database, actor: str, reason: str) -> list[str]:
    """Pauses the rollouts that move; a person resumes them. Returns their ids. Raises StoreError and ConflictError."""
    rollouts = Rollouts(database)
    return [one.id for one in rollouts.all() if _paused(rollouts, one, Deed(database.now(), actor, reason))]


def _paused(rollouts: Rollouts, rollout: Rollout, deed: Deed) -> bool:
    """Whether it was paused, though its engine may write meanwhile; False if it does not move."""
    now = rollout
    for _ in range(_TRIES):
        if not now.phase.moves:
            return False
        try:
            if rollouts.change(Change(now, pause(now, deed))) == "done":
                return True
        except UnconfirmedError:  # it is paused, though not on the replicas yet
            return True
        now = rollouts.get(rollout.id)
    raise ConflictError(f"Rollout {rollout.id} changes all the time.", advice="Stop the workers and try again.")


def digests_of_rollouts(database: Database) -> set[str]:
    """What rollouts that have not ended need of the registry. Raises StoreError.

    Their bases, the images that they have composed, those that apps go back to, and sources that are built again.

    Apps of a rollout that was superseded stay on its base until a later one ends; so do their builds.
    """
    rollouts, found = Rollouts(database), AppBases(database).moved()
    for rollout in rollouts.all():
        if rollout.phase.final:
            continue
        found |= {rollout.base, rollout.source}
        for app in rollouts.apps(rollout.id).values():
            found |= {app.image, app.previous, app.previous_base, app.kept_base, app.source}
    return {digest for one in found if (digest := one.rpartition("@")[2])}
