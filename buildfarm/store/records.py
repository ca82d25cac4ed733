"""Builds' records: made, read, listed and cancelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import NotFoundError
from buildfarm.model import Build, Request, State
from buildfarm.store.database import EVENTS_MAX, INDEX_MAX, Database

_NUMBERS = ("submitted_at", "started_at", "finished_at", "attempt")


@dataclass(frozen=True)
class Records:
    """The records of all builds. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    record_seconds: float

    def submit(self, build_id: str, request: Request, queue: str) -> bool:
        """Writes a queued build; False where this id exists already."""
        key = self.database.key
        keys = [
            key("build", build_id),
            key("queued"),
            key("builds"),
            self._app(request.tenant, request.app),
            key("events"),
        ]
        made = self.database.run("submit", keys, build_id, request.model_dump_json(), queue, INDEX_MAX, EVENTS_MAX)
        return bool(made)

    def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError."""
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("build", build_id))  # type: ignore[assignment]
        if not fields:
            raise NotFoundError(
                f"There is no build {build_id[:80]}.", advice="buildfarm list shows the builds the farm remembers."
            )
        return decode(fields)

    def queue_of(self, build_id: str) -> str:
        """The queue that the build was first sent to; empty where it is unknown."""
        with self.database.failures():
            return str(self.database.client.hget(self.database.key("build", build_id), "queue") or "")

    def recent(self, limit: int, *, tenant: str | None = None, app: str | None = None) -> list[Build]:
        """The newest builds first; of one app where it is named."""
        index = self._app(tenant, app) if tenant and app else self.database.key("builds")
        with self.database.failures():
            ids: list[str] = self.database.client.zrange(index, 0, limit - 1, desc=True)  # type: ignore[assignment]
            pipeline = self.database.client.pipeline(transaction=False)
            for build_id in ids:
                pipeline.hgetall(self.database.key("build", build_id))
            found = pipeline.execute()
        return [decode(fields) for fields in found if fields]

    def cancel(self, build_id: str) -> State:
        """Cancels a build, and returns the state it was found in. Raises NotFoundError.

        A waiting build is cancelled at once; a running one when its holder renews its lease next.
        """
        key = self.database.key
        keys = [key("build", build_id), key("queued"), key("events"), key("build", build_id, "log")]
        state = self.database.run("cancel", keys, build_id, EVENTS_MAX, int(self.record_seconds))
        if not state:
            raise NotFoundError(f"There is no build {build_id[:80]}.", advice="buildfarm list shows the builds.")
        return State(state)

    def overdue(self, seconds: float, limit: int) -> list[str]:
        """Queued builds whose message is older than this; they count as sent again now."""
        return list(self.database.run("overdue", [self.database.key("queued")], seconds, limit))

    def queued_count(self) -> int:
        """How many builds wait for a slot."""
        with self.database.failures():
            return int(self.database.client.zcard(self.database.key("queued")))

    def message_count(self, queues: Sequence[str]) -> int:
        """How many messages wait in these queues."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for queue in queues:
                pipeline.llen(self.database.key(queue))
            return sum(pipeline.execute())

    def tag_target(self, repository: str) -> str:
        """The manifest digest that a repository's tag is to point at; empty where nothing was published."""
        with self.database.failures():
            return str(self.database.client.hget(self.database.key("tags"), repository) or "")

    def _app(self, tenant: str, app: str) -> str:
        return self.database.key("app", f"{tenant}/{app}")


def decode(fields: dict[str, str]) -> Build:
    """A record's hash as a Build."""
    values: dict[str, Any] = {
        name: fields[name] for name in ("id", "state", "node", "phase", *_NUMBERS) if fields.get(name)
    }
    for name in ("request", "result", "failure"):
        if name in fields:
            values[name] = json.loads(fields[name])
    return Build.model_validate({**values, "cancel_requested": "cancel" in fields})
