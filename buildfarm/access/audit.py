"""The audit log: who did what, in entries that hold the hash of the one before, so that none can be changed unseen.

Anyone who has a copy of the newest hash can detect a change; a process that can write to Redis could still make
a whole new log. So ``verify`` returns the head, to be stored elsewhere. Entries of days that are over are in the
registry.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from buildfarm.errors import InternalError, RegistryError, StoreError
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive.audit.parts import KEPT_SECONDS, AuditParts, KeptEntry, Part, read_part
from buildfarm.store.database import Database
from buildfarm.store.logs import position_of

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

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
    result: str  # done, denied, unfinished (it took effect, and a later step failed), or an error's code
    address: str = ""  # where the request came from
    request_id: str = ""
    at: float = 0  # seconds since the epoch; by the writer's clock


@dataclass(frozen=True)
class Audit:
    """Append-only. Every method raises StoreError where Redis cannot be reached."""

    database: Database
    registry: Callable[[], Registry] | None = None  # has the entries of days that are over

    def add(self, entry: AuditEntry) -> str:
        """Keeps the entry, and returns its hash: the new head."""
        values = {**asdict(entry), "at": round(entry.at or time.time(), 3)}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        keys = [self.database.key("audit"), self.database.key("audit", "head")]
        for _ in range(_TRIES):
            with self.database.failures():
                before = str(self.database.client.get(keys[1]) or "")
            head = _chained(before, text)
            if self.database.run("audit", keys, before, head, text, KEPT_SECONDS):
                return head
        raise StoreError("Too many processes write to the audit log at once.", advice="Try again.")

    def newest(self, limit: int, lost: list[str] | None = None) -> list[AuditEntry]:
        """The newest entries, newest first; ``lost`` gets a sentence for those that cannot be read."""
        missing: list[str] = [] if lost is None else lost
        parts, found = AuditParts(self.database).newest(limit)
        for part in reversed(parts):
            if len(found) >= limit:
                break
            try:
                found += reversed(self._read(part))
            except RegistryError as error:
                missing.append(_cannot_read(part, error))
                if isinstance(error, UnavailableError):
                    break
        return [AuditEntry(**json.loads(entry.text)) for entry in found[:limit]]

    def verify(self) -> Verified:
        """Whether the chain of hashes is whole, in Redis and in the registry.

        The oldest entries end with their time: the chain begins at the first that is kept. Raises InternalError that
        names the first entry that was changed, and UnavailableError.
        """
        before, count, lost = "-", 0, []
        for stretch in self._stretches():
            if before != "-" and stretch.before not in ("-", before):
                raise _changed(stretch.first)
            before = before if stretch.before == "-" else stretch.before
            if stretch.lost:
                lost.append(stretch.lost)
            for entry in stretch.entries:
                if before != "-" and entry.hash != _chained(before, entry.text):
                    raise _changed(entry.position)
                before, count = entry.hash, count + 1
            if stretch.lost:
                before = stretch.head
            elif stretch.head not in ("-", before):
                raise _changed(stretch.first)
        with self.database.failures():
            head = str(self.database.client.get(self.database.key("audit", "head")) or "")
        if head != before.strip("-"):
            raise InternalError("The audit log was cut: its newest entries are missing.", advice="Compare with a copy.")
        return Verified(count, head, tuple(lost))

    def _stretches(self) -> Iterator[_Stretch]:
        """All entries, oldest first. What is moved between two looks is found in its part."""
        last = ""
        while True:
            parts, entries = AuditParts(self.database).next(last, _PAGE)
            new = [part for part in parts if not last or position_of(part.last) > position_of(last)]
            for part in new:
                yield self._stretch(part, last)
                last = part.last
            if new:
                continue
            if not entries:
                return
            yield _Stretch(entries[0].position, entries)
            last = entries[-1].position

    def _stretch(self, part: Part, after: str) -> _Stretch:
        """A part, without those of its entries that were read before it was made."""
        is_whole = not after or position_of(part.first) > position_of(after)
        before = part.before if is_whole else "-"
        try:
            entries = self._read(part)
        except UnavailableError:
            raise
        except RegistryError as error:
            return _Stretch(part.first, (), before, part.head, _cannot_read(part, error))
        rest = entries if is_whole else [one for one in entries if position_of(one.position) > position_of(after)]
        return _Stretch(part.first, rest, before, part.head)

    def _read(self, part: Part) -> list[KeptEntry]:
        if self.registry is None:
            raise RegistryError("This process does not read the registry.")
        return read_part(self.registry(), part)


@dataclass(frozen=True)
class Verified:
    """What `Audit.verify` found: entries whose hashes are right, the newest hash, and what could not be read."""

    entries: int
    head: str
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Stretch:
    """Entries that follow one another; "-" is a hash that is not known."""

    first: str  # position
    entries: Sequence[KeptEntry] = field(default=())
    before: str = "-"
    head: str = "-"
    lost: str = ""  # why there are no entries


def _cannot_read(part: Part, error: RegistryError) -> str:
    return f"The {part.count} audit entries of {part.day} from {part.first} on cannot be read: {error.message}"


def _changed(position: str) -> InternalError:
    return InternalError(
        f"The audit log was changed: entry {position} does not match its hash, or one before it is gone.",
        advice="Find out who can write to Redis and the registry, and compare with a copy.",
    )


def _chained(before: str, entry: str) -> str:
    return hashlib.sha256(f"{before}\n{entry}".encode()).hexdigest()
