"""Deliveries of push hooks on their way: which have come, what waits to be acted on, statuses, and previews."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.state import State
from buildfarm.store.database import Database

SEEN_SECONDS = 30 * 86_400
SEEN_MAX = 10_000
INBOX_MAX = 5000
_STATE_SECONDS = 90 * 86_400
_STATUS_SECONDS = 14 * 86_400  # longer than a build can wait
_PREVIEW_AGAIN_SECONDS = 300.0
_READ_MAX = 1000


def lane_of(hook_id: str) -> str:
    """Whose turn it is, as webhooks have it for tenants: a hook's deliveries are acted on one after another."""
    return f"push.{hook_id}"


@dataclass(frozen=True)
class PushInbox:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def accept(self, hook_id: str, identity: str, changes: Sequence[Wanted]) -> str:
        """Take a delivery: ``new``, ``seen`` if it was there before, ``full`` if too many changes wait."""
        texts = [one.model_dump_json() for one in changes]
        args: tuple[str | float, ...] = (hook_id, identity, SEEN_SECONDS, SEEN_MAX, INBOX_MAX, lane_of(hook_id), *texts)
        return str(self.database.run("push_accept", [self.database.key()], *args))

    def read(self, hook_id: str) -> tuple[int, State, list[Wanted]]:
        """The state's version, the state, and the changes that it does not have yet."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.get(self.database.key("hook", hook_id, "state"))
            pipeline.lrange(self.database.key("hook", hook_id, "inbox"), 0, _READ_MAX - 1)
            text, found = pipeline.execute()
        version, _, state = (text or "0 {}").partition(" ")
        changes = [Wanted.model_validate_json(one, extra="ignore") for one in found]
        return int(version), State.model_validate_json(state, extra="ignore"), changes

    def save(self, hook_id: str, version: int, state: State, absorbed: int = 0) -> int:
        """Write the state if nobody else did, without the changes that it has now. Returns its version, else 0."""
        keys = [self.database.key("hook", hook_id, part) for part in ("state", "inbox")]
        saved = self.database.run("push_save", keys, version, state.model_dump_json(), absorbed, _STATE_SECONDS)
        return version + 1 if saved else 0

    def waits(self, hook_id: str) -> bool:
        """Whether the inbox has anything."""
        with self.database.failures():
            return bool(self.database.client.exists(self.database.key("hook", hook_id, "inbox")))

    def note_status(self, build_id: str, **values: str) -> None:
        """What a commit's status needs beside its build."""
        key = self.database.key("hook-status", build_id)
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.hset(key, mapping=dict[Any, Any](values))
            pipeline.expire(key, _STATUS_SECONDS)
            pipeline.execute()

    def status(self, build_id: str) -> Mapping[str, str]:
        """The same; empty if no status is to be reported."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("hook-status", build_id))
        return dict(found)

    def forget_status(self, build_id: str) -> None:
        """All is reported."""
        with self.database.failures():
            self.database.client.unlink(self.database.key("hook-status", build_id))

    def keep_preview(self, hook_id: str, tenant: str, app: str, until: float) -> None:
        """A preview ends at this time, in seconds since the epoch; 0: at once."""
        with self.database.failures():
            self.database.client.zadd(self._previews, {f"{hook_id} {tenant}/{app}": until})

    def end_previews_of(self, hook_id: str) -> None:
        """All previews of a hook end at once."""
        with self.database.failures():
            for name, _ in self.database.client.zscan_iter(self._previews, match=f"{hook_id} *"):
                self.database.client.zadd(self._previews, {name: 0}, xx=True)

    def previews_due(self, limit: int) -> Iterator[tuple[str, str]]:
        """Previews whose time is over, each as it is named and by which it is removed; each to one caller."""
        found: Any = self.database.run("unsettled", [self._previews], _PREVIEW_AGAIN_SECONDS, limit)
        return zip(found[::2], found[1::2], strict=True)

    def preview_ended(self, name: str, score: str) -> None:
        """It is gone, unless its pull request was opened again meanwhile."""
        self.database.run("settle", [self._previews], name, score)

    @property
    def _previews(self) -> str:
        return self.database.key("previews")
