"""The audit log: who did what, in entries that hold the hash of the one before, so that none can be changed unseen.

Anyone who has a copy of the newest hash can detect a change; a process that can write to Redis could still make
a whole new log. So ``verify`` returns the head, to be stored elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from buildfarm.errors import InternalError, StoreError
from buildfarm.store.database import Database

_KEPT_SECONDS = 400 * 86_400
_TRIES = 20
_PAGE = 1000


@dataclass(frozen=True)
class AuditEntry:
    """One deed. ``who`` is a token's name or a person on the farm's own machine."""

    who: str
    token: str  # its id; empty if none was shown
    tenant: str  # whose thing it was; empty: the farm's
    verb: str  # build.submit, build.cancel, token.make, …
    object: str
    result: str  # done, denied, or an error's code
    address: str = ""  # where the request came from
    request_id: str = ""
    at: float = 0  # seconds since the epoch; by the writer's clock


@dataclass(frozen=True)
class Audit:
    """Append-only. Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def add(self, entry: AuditEntry) -> str:
        """Keeps the entry, and returns its hash: the new head."""
        values = {**asdict(entry), "at": round(entry.at or time.time(), 3)}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        keys = [self.database.key("audit"), self.database.key("audit", "head")]
        for _ in range(_TRIES):
            with self.database.failures():
                before = str(self.database.client.get(keys[1]) or "")
            head = _chained(before, text)
            if self.database.run("audit", keys, before, head, text, _KEPT_SECONDS):
                return head
        raise StoreError("Too many processes write to the audit log at once.", advice="Try again.")

    def newest(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
        with self.database.failures():
            found: Any = self.database.client.xrevrange(self.database.key("audit"), count=limit)
        return [AuditEntry(**json.loads(fields["entry"])) for _, fields in found]

    def verify(self) -> tuple[int, str]:
        """How many entries there are, and the head. Raises InternalError that names the first entry that was changed.

        The oldest entries end with their time: the chain begins at the first that is kept.
        """
        before: str | None = None
        count = 0
        for position, fields in self._entries():
            if before is not None and fields["hash"] != _chained(before, fields["entry"]):
                raise InternalError(
                    f"The audit log was changed: entry {position} does not match its hash, or one before it is gone.",
                    advice="Find out who can write to Redis, and compare with a copy.",
                )
            before, count = fields["hash"], count + 1
        with self.database.failures():
            head = str(self.database.client.get(self.database.key("audit", "head")) or "")
        if head != (before or ""):
            raise InternalError("The audit log was cut: its newest entries are missing.", advice="Compare with a copy.")
        return count, head

    def _entries(self) -> Iterator[tuple[str, dict[str, str]]]:
        after = "-"
        while True:
            with self.database.failures():
                found: Any = self.database.client.xrange(self.database.key("audit"), min=after, count=_PAGE)
            yield from found
            if len(found) < _PAGE:
                return
            after = f"({found[-1][0]}"


def _chained(before: str, entry: str) -> str:
    return hashlib.sha256(f"{before}\n{entry}".encode()).hexdigest()
