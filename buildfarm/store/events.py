"""Changes of builds' states as a stream: read from any position, or shared out among the members of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from buildfarm.events import Event
from buildfarm.store.database import EVENTS_MAX, Database

_KNOWN = frozenset(Event.model_fields)


@dataclass(frozen=True)
class Events:
    """The newest 100,000 changes, oldest first. Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def last(self) -> str:
        """The position of the newest event; what comes after it is new."""
        with self.database.failures():
            newest: Any = self.database.client.xrevrange(self._key(), count=1)
        return str(newest[0][0]) if newest else "0"

    def read(self, after: str, *, wait_seconds: float = 0, limit: int = 1000) -> list[Event]:
        """Events after a position; waits for the next one if there is none. Empty when the wait is over."""
        block = int(wait_seconds * 1000) or None
        with self.database.failures():
            answer: Any = self.database.client.xread({self._key(): after}, count=limit, block=block)
        return _events(answer)

    def refused(self, build_id: str, reason: str) -> None:
        """Reports that a request which came as a message was refused."""
        fields: Any = {"build": build_id, "state": "refused", "reason": reason}
        with self.database.failures():
            self.database.client.xadd(self._key(), fields, maxlen=EVENTS_MAX, approximate=True)

    def join(self, group: str, *, after: str = "$") -> None:
        """Makes a group whose members share the events out among themselves, unless it is there already."""
        with self.database.failures():
            try:
                self.database.client.xgroup_create(self._key(), group, id=after, mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def take(self, group: str, member: str, *, wait_seconds: float = 0, limit: int = 100) -> list[Event]:
        """This member's next events; each is given to it alone, and again to another who asks for `abandoned` ones."""
        block = int(wait_seconds * 1000) or None
        with self.database.failures():
            answer: Any = self.database.client.xreadgroup(group, member, {self._key(): ">"}, count=limit, block=block)
        return _events(answer)

    def abandoned(self, group: str, member: str, *, idle_seconds: float, limit: int = 100) -> list[Event]:
        """Events that a member took and did not call `done` for so long; they are this member's now."""
        with self.database.failures():
            answer: Any = self.database.client.xautoclaim(
                self._key(), group, member, int(idle_seconds * 1000), count=limit
            )
        return [_event(position, fields) for position, fields in answer[1] if fields]

    def forget_members(self, group: str, *, idle_seconds: float) -> None:
        """Forgets members that took nothing for so long, and have no event left that they did not call `done`."""
        self.database.run("forget_members", [self._key()], group, int(idle_seconds * 1000))

    def done(self, group: str, events: Sequence[Event]) -> None:
        """The group has dealt with these events."""
        if events:
            with self.database.failures():
                self.database.client.xack(self._key(), group, *(event.position for event in events))

    def _key(self) -> str:
        return self.database.key("events")


def _events(answer: Any) -> list[Event]:
    # redis-py answers with a list or a mapping, by version of the protocol
    groups = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer or ()]
    found = [entry for entries in groups for entry in entries]
    if found and found[0] and isinstance(found[0][0], (list, tuple)):
        found = [entry for entries in found for entry in entries]
    return [_event(position, fields) for position, fields in found]


def _event(position: str, fields: dict[str, Any]) -> Event:
    # A farm of another version may send more fields than this one reads.
    return Event.model_validate(
        {"position": position, **{name: value for name, value in fields.items() if name in _KNOWN}}
    )
