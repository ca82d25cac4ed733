"""Deliveries of push hooks on their way: which have come, what waits to be acted on, statuses, and previews."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.state import State
from buildfarm.store.database import Database

SEEN_SECONDS = 30 * 86_400
SEEN_MAX = 10_000
INBOX_MAX = 5000
_STATUS_SECONDS = 14 * 86_400  # longer than a build can wait
PREVIEW_AGAIN_SECONDS = 300.0
_MARK_SECONDS = 180 * 86_400  # longer than a preview can live


def lane_of(tenant: str) -> str:
    """Whose turn it is, as webhooks have it: a tenant's hooks have their turns one after another."""
    return f"push.{tenant}"


def name_of(hook_id: str) -> str:
    """The key of a hook's inbox, without the namespace."""
    return f"hook:{hook_id}:inbox"


@dataclass(frozen=True)
class PushInbox:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def accept(self, hook_id: str, tenant: str, identity: str, changes: Sequence[Wanted]) -> str:
        """Take a delivery: ``new``, ``seen`` if it was there before, ``full`` if too many changes wait."""
        texts = [one.model_dump_json() for one in changes]
        args: tuple[str | float, ...] = (hook_id, identity, SEEN_SECONDS, SEEN_MAX, INBOX_MAX, lane_of(tenant), *texts)
        return str(self.database.run("push_accept", [self.database.key()], *args))

    def state(self, hook_id: str) -> tuple[int, State]:
        """The state's version, and the state."""
        with self.database.failures():
            text: Any = self.database.client.get(self.database.key("hook", hook_id, "state"))
        version, _, state = (text or "0 {}").partition(" ")
        return int(version), State.model_validate_json(state, extra="ignore")

    def read(self, hook_id: str, limit: int) -> tuple[int, list[Wanted]]:
        """The first changes that the state does not have yet: how many, and those that can be read."""
        found: Any = []
        if limit > 0:
            with self.database.failures():
                found = self.database.client.lrange(self.database.key("hook", hook_id, "inbox"), 0, limit - 1)
        return len(found), [one for text in found if (one := _wanted(text))]

    def save(self, hook_id: str, version: int, state: State, absorbed: int = 0) -> int:
        """Write the state if nobody else did, without the changes that it has now. Returns its version, else 0."""
        keys = [*(self.database.key("hook", hook_id, part) for part in ("state", "inbox")), self.database.key("hooks")]
        saved = self.database.run("push_save", keys, version, state.model_dump_json(), absorbed, hook_id)
        return version + 1 if saved else 0

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

    def preview_of(self, tenant: str, app: str) -> str:
        """The hook that made this app as a preview; empty if none did."""
        with self.database.failures():
            return str(self.database.client.get(self._mark(tenant, app)) or "")

    def mark_preview(self, hook_id: str, tenant: str, app: str, *, instead_of: str = "") -> bool:
        """Mark an app as a hook's preview, unless it is another's. The mark outlives it, so that it can come back."""
        with self.database.failures():
            key = self._mark(tenant, app)
            if not self.database.client.set(key, hook_id, ex=_MARK_SECONDS, nx=True):
                if self.database.client.get(key) not in (hook_id, instead_of):
                    return False
                self.database.client.set(key, hook_id, ex=_MARK_SECONDS)
        return True

    def _mark(self, tenant: str, app: str) -> str:
        return self.database.key("preview", f"{tenant}/{app}")

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
        found: Any = self.database.run("unsettled", [self._previews], PREVIEW_AGAIN_SECONDS, limit)
        return zip(found[::2], found[1::2], strict=True)

    def preview_is_due(self, name: str, score: str) -> bool:
        """Whether it is still due as it was handed out: nobody has pushed to it since."""
        with self.database.failures():
            found: Any = self.database.client.zscore(self._previews, name)
        return found is not None and float(found) == float(score)

    def preview_ended(self, name: str, score: str) -> None:
        """It is gone, unless its pull request was opened again meanwhile."""
        self.database.run("settle", [self._previews], name, score)

    @property
    def _previews(self) -> str:
        return self.database.key("previews")


def _wanted(text: str) -> Wanted | None:
    """None if it cannot be read: it must not hold up what comes after it."""
    try:
        return Wanted.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None
