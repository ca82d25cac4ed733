"""What a leader does for the archive: ended builds go into packs, small packs are joined, old ones are removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.retry import UnavailableError, once_seen
from buildfarm.store.archive import plan
from buildfarm.store.archive.catalog import Catalog, Ended, Joined
from buildfarm.store.archive.pack import Pack, join, make
from buildfarm.store.archive.patrol import Patrol
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.archive.sent_logs import LINES, SentLogs
from buildfarm.store.archive.shelf import Shelf, repository_of, shelved
from buildfarm.store.archive.tally import Waiting
from buildfarm.store.logs import Logs
from buildfarm.telemetry import Logger

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_LOOK = 1000  # builds at once
_LOOSE = 100
_READ = 32  # logs at once
_SETTLED = 0.1  # of the time after which an app's oldest build is archived: younger ones go along with it
_NOT_KEPT = ("log_", "holder", "archived")  # how the fields begin that mean nothing in the archive


@dataclass
class Archivist:
    """One at a time in a farm, and harmless if it is two. Every method raises StoreError and RegistryError."""

    catalog: Catalog
    logs: Logs
    registry: Registry
    after_seconds: float  # an ended build stays in Redis for so long
    patience_seconds: float  # longer, if its node has not sent its log
    kept_seconds: float  # its pack stays in the registry
    logger: Logger
    _looked: float = field(default=0.0)  # where the next look goes on
    _waiting: Waiting = field(default_factory=Waiting)  # what the looks have found since the first

    @cached_property
    def patrol(self) -> Patrol:
        """What looks after the packs that are there."""
        return Patrol(self.catalog, self.registry, self.logger)

    def due(self) -> list[str]:
        """Apps that have builds to be archived, of some that ended; each call looks at others."""
        found, following = self.catalog.ended(self._looked, _LOOK, seconds=self.after_seconds)
        self._looked = following or 0.0
        self._tell(found)
        self._leave([build for build in found if build.archived])
        return list(dict.fromkeys(build.place for build in found if not build.archived))

    @property
    def looked_at_all(self) -> bool:
        """Whether the last look came to the end of the list."""
        return self._looked == 0.0

    def archive(self, place: str) -> int:
        """Archives an app's ended builds, a pack at a time; returns how many."""
        seconds = self.after_seconds * _SETTLED
        builds = self.catalog.ended_of(place, seconds=seconds, patience_seconds=self.patience_seconds)
        total = 0
        for pack in self._packs([build.id for build in builds]):
            self._add(place, pack)
            total += len(pack.rows)
        return total

    def tidy(self) -> int:
        """The registry forgets manifests that no list names now; returns how many. Some packs are looked at."""
        self.patrol.count()
        self.patrol.look()
        loose = self.catalog.loose(_LOOSE)
        needed = self.catalog.digests() if loose else set()
        return sum(self._forget(reference, needed) for reference in loose)

    def remove_expired(self) -> int:
        """Removes packs whose time is over; returns how many builds they had."""
        total = 0
        for place, pack in self.catalog.expired(self.catalog.database.now() - self.kept_seconds, _LOOK):
            shelf = Shelf(self.registry, repository_of(place))
            try:
                builds = [row.id for row in shelf.index(pack).rows]
            except UnavailableError:
                raise
            except RegistryError:  # missing or damaged: it goes nevertheless, and so do the others
                builds = []
            self.catalog.remove(place, pack, builds, f"{shelf.repository} {pack.manifest}")
            total += pack.builds
        return total

    def _packs(self, ids: Sequence[str]) -> Iterator[Pack]:
        """New packs of these builds, none larger than the plan allows unless a single log is."""
        found: list[tuple[dict[str, str], bytes]] = []
        for record, log in self._logs(self.catalog.records(ids)):
            size = sum(len(other) for _, other in found)
            if found and (len(found) == plan.BUILDS_MAX or size + len(log) > plan.BYTES_MAX):
                yield make(found)
                found = []
            found.append(({name: text for name, text in record.items() if not name.startswith(_NOT_KEPT)}, log))
        if found:
            yield make(found)

    def _logs(self, records: Sequence[dict[str, str]]) -> Iterator[tuple[dict[str, str], bytes]]:
        """Each record with its log; the logs that Redis has are asked for some at a time."""
        for start in range(0, len(records), _READ):
            some = records[start : start + _READ]
            begun = self.logs.beginnings([record["id"] for record in some if not record.get("log_blobs")], LINES)
            sent = SentLogs(self.logs, self.registry, begun)
            yield from ((record, self._log(sent, record)) for record in some)

    def _log(self, sent: SentLogs, record: dict[str, str]) -> bytes:
        """A build's log; where what its node sent is lost, the window that Redis has of it."""
        try:
            return sent.content(record)
        except UnavailableError:
            raise
        except (RegistryError, ValueError) as error:
            reason = error.message if isinstance(error, RegistryError) else str(error)
            self.logger.warning("log_lost", build=record["id"], reason=reason)
            return sent.content({**record, "log_blobs": ""})

    def _add(self, place: str, new: Pack) -> None:
        """Puts a pack in the registry, with those that it takes in, and then the list of packs says so."""
        shelf = Shelf(self.registry, repository_of(place))
        packs = self.catalog.packs(place)
        found = self._read(place, plan.taken_in(packs, shelved(new)))
        old = [pack for pack, _ in found]
        whole = join([*(content for _, content in found), new])
        loose = f"{shelf.repository} {shelved(whole).manifest}"
        self.catalog.note_loose(loose)
        kept = shelf.put(whole)
        # Redis forgets these builds now: they must be found here.
        once_seen(lambda: shelf.check(kept), RegistryError)
        gone = [f"{shelf.repository} {pack.manifest}" for pack in old if pack.manifest != kept.manifest]
        self.catalog.join(Joined(place, kept, loose, old, [row.id for row in new.rows], gone))

    def _read(self, place: str, packs: Sequence[Shelved]) -> list[tuple[Shelved, Pack]]:
        """These packs up to the first that is damaged: it is left as it is."""
        shelf = Shelf(self.registry, repository_of(place))
        found: list[tuple[Shelved, Pack]] = []
        for pack in packs:
            try:
                found.append((pack, shelf.pack(pack)))
            except UnavailableError:
                raise
            except RegistryError as error:
                self.patrol.note(place, pack, error)
                break
        return found

    def _tell(self, found: Sequence[Ended]) -> None:
        """Those who watch the archive learn what waits for it, after a look at the whole list."""
        seconds, patience_seconds = self.after_seconds, self.patience_seconds
        self._waiting = self._waiting.and_also(found, seconds=seconds, patience_seconds=patience_seconds)
        if self.looked_at_all:
            self.patrol.tally.looked(self._waiting)
            self._waiting = Waiting()

    def _leave(self, builds: Sequence[Ended]) -> None:
        for place in {build.place for build in builds}:
            self.catalog.leave(place, [build.id for build in builds if build.place == place])

    def _forget(self, reference: str, needed: set[str]) -> bool:
        repository, _, manifest = reference.partition(" ")
        # Only who takes the note away may delete: a pack that is listed meanwhile has taken it away, too.
        if not self.catalog.forgotten(reference) or manifest in needed:
            return False
        try:
            self.registry.delete_manifest(repository, Digest(manifest))
        except NotInRegistryError:
            return False
        return True
