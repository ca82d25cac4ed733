"""Builds as users see them: those in Redis, and seamlessly after them those in the archive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import NotFoundError, RegistryError, RequestError
from buildfarm.events import LogLine
from buildfarm.model import Build, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.logs import START, Logs, position_of
from buildfarm.store.pages import READ, Pages
from buildfarm.store.records import CachedResult, Records, decode, digests_of

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry
    from buildfarm.store.archive import app_history as app_histories
    from buildfarm.store.archive import catalog as catalogs
    from buildfarm.store.archive import listing as listings
    from buildfarm.store.archive import log_text, sent_logs
    from buildfarm.store.archive import shelf as shelves
    from buildfarm.store.archive.catalog import Catalog
    from buildfarm.store.archive.pack import Index, Row
    from buildfarm.store.archive.plan import Shelved
    from buildfarm.store.archive.shelf import Shelf
else:  # Redis alone answers most questions
    app_histories = LazyModule("buildfarm.store.archive.app_history")
    catalogs = LazyModule("buildfarm.store.archive.catalog")
    listings = LazyModule("buildfarm.store.archive.listing")
    log_text = LazyModule("buildfarm.store.archive.log_text")
    sent_logs = LazyModule("buildfarm.store.archive.sent_logs")
    shelves = LazyModule("buildfarm.store.archive.shelf")

LOG_WAIT_SECONDS = 0.5
_INDEXES_MAX = 8
_ADVICE = (
    "If the registry answers, this blob is lost: restore it from a copy. The builds of other packs can still be read."
)
_WAITED_SECONDS = 86400.0  # packs are known by when their builds were submitted, and a build may wait
PACKS_READ = 2  # for one page of an app's history


@dataclass(frozen=True)
class History:
    """All builds that the farm remembers. Every method raises StoreError where Redis cannot be reached."""

    records: Records
    streams: Logs
    registry: Callable[[], Registry]  # opened only for the archive
    _indexes: dict[Digest, Index] = field(default_factory=dict)  # read lately; what a digest names never changes

    @property
    def catalog(self) -> Catalog:
        """What Redis knows of the archive."""
        return catalogs.Catalog(self.records.database)

    def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError, VersionError, and RegistryError if its pack cannot be read."""
        try:
            return self.records.get(build_id)
        except NotFoundError:
            found = self._find(build_id)
            if found is None:
                raise
        try:
            return decode(found[2].record)
        except ValueError as error:
            raise RegistryError(f"Build {build_id[:80]} cannot be read from the archive: {error}.") from error

    def cancel(self, build_id: str) -> State:
        """As `Records.cancel`; an archived build has ended. Raises as `get` does, and TooLateError."""
        try:
            return self.records.cancel(build_id)
        except NotFoundError:
            return self.get(build_id).state

    def logs(self, build_id: str, *, follow: bool = False, after: str = START) -> Iterator[LogLine]:
        """A build's log after a position; with ``follow`` until the build has ended. Raises as `get` does."""
        build = self.get(build_id)
        while not build.state.final or (whole := self.whole(build_id, after)) is None:
            wait_seconds = LOG_WAIT_SECONDS if follow and not build.state.final else 0
            lines = self.streams.read(build_id, after, wait_seconds=wait_seconds)
            yield from lines
            if lines:
                after = lines[-1].position
            elif not follow or build.state.final:
                return
            # Read after the lines: a build that has ended writes no more, so the next look is the last.
            build = self.get(build_id) if follow and not build.state.final else build
        yield from whole

    def log_tail(self, build_id: str, limit: int, *, after: str = START) -> list[LogLine]:
        """The last lines of a build's log so far, of those after a position. Raises as `get` does."""
        if not self.get(build_id).state.final:
            return self.streams.tail(build_id, limit, after)
        try:
            packed = self.packed(build_id)
            lines = log_text.decode_tail(packed, limit) if packed else []
        except (RegistryError, ValueError):
            # What is damaged is named in a separate line.
            return list(deque(self.logs(build_id, after=after), maxlen=limit))
        if packed is None:
            return self.streams.tail(build_id, limit, after)
        return [line for line in lines if position_of(line.position) > position_of(after)]

    def whole(self, build_id: str, after: str = START) -> Iterator[LogLine] | None:
        """An ended build's whole log after a position, if it has left Redis; else None.

        What is damaged is named in a separate line.
        """
        found = self._find(build_id)
        if found is not None:
            shelf, index, row = found
            return _named(_packed(shelf, index, row), after, f"{shelf.repository}@{index.data}")
        record = self.streams.sent_record(build_id)
        if record is None:
            return None
        sent = sent_logs.SentLogs(self.streams, self.registry())
        return _named(sent.lines(record), after, f"the log of {build_id}")

    def packed(self, build_id: str) -> bytes | None:
        """The same log as `log_text.encode_log` makes it. Raises RegistryError; whether it is damaged is not known."""
        found = self._find(build_id)
        if found is not None:
            shelf, index, row = found
            return shelf.log(index, row)
        record = self.streams.sent_record(build_id)
        if record is None:
            return None
        try:
            return sent_logs.SentLogs(self.streams, self.registry()).content(record)
        except ValueError as error:
            raise RegistryError(f"The log of {build_id[:80]} cannot be read: {error}.") from error

    def cached_result(self, place: str, input_digest: str) -> CachedResult | None:
        """A build of this input that succeeded, archived or not; whether its image is still there is not known here."""
        found = self.records.cached_result(input_digest)
        build_id = "" if found else self.catalog.build_of(place, input_digest)
        if not build_id:
            return found
        try:
            result = self.get(build_id).result
        except (NotFoundError, RegistryError):
            return None
        return CachedResult(build_id, result) if result else None

    def named(self, seconds: Callable[[str], float], images: Collection[str]) -> tuple[set[str], dict[str, str]]:
        """The digests of `Records.named`, and those of the archive: its packs, and images of builds in them.

        The archived builds of a tenant/app count for ``seconds`` after their end, as if Redis had them for so long.
        Raises RegistryError if a pack cannot be read: nobody knows then which images it names.
        """
        # Redis comes first: a build that is archived in between is then in both, and not in neither.
        found, sources = self.records.named(images)
        now = self.records.database.now()
        for place in self.catalog.places():
            for record in self._records(place, now - seconds(place)):
                named, source = digests_of(record)
                found |= named
                sources |= dict.fromkeys(named & set(images), source)
        return found | self.catalog.digests(), {image: source for image, source in sources.items() if source}

    def recent(
        self, limit: int, *, tenant: str | None = None, app: str | None = None, lost: list[str] | None = None
    ) -> list[Build]:
        """The newest builds, over as many pages as it takes; otherwise as `page`."""
        found: list[Build] = []
        after: str | None = ""
        while after is not None and len(found) < limit:
            builds, after = self.page(limit - len(found), tenant=tenant, app=app, after=after, lost=lost)
            found += builds
        return found

    def page(
        self,
        limit: int,
        *,
        tenant: str | None = None,
        app: str | None = None,
        states: Collection[State] = (),
        after: str = "",
        lost: list[str] | None = None,
    ) -> tuple[list[Build], str | None]:
        """A page of builds, and where the next one begins: None at the end.

        ``lost`` gets a sentence for each pack that cannot be read; the rest is shown.
        The archive is searched by tenant and app together, and a page reads two of its packs; so it may be shorter
        than ``limit``. Lists of a tenant and of all builds have the newest ones alone. Raises RequestError if such a
        list is to go on further back.
        """
        pages = Pages(self.records.database)
        if tenant and app:
            place = f"{tenant}/{app}"
            at_once = READ if states else limit + 1  # one more shows that there is another page
            history = app_histories.AppHistory(
                place, pages, self.catalog, at_once, lambda pack: self._index(self._shelf(place), pack)
            )
            listing = listings.Listing(history.sources(after), after, PACKS_READ)
            found, following = listing.page(limit, states)
            if lost is not None:
                lost += [sentence for sentence in listing.lost if sentence not in lost]
            return found, following
        found, following = pages.page(limit, tenant=tenant, app=app, states=states, after=after)
        if after and not found and not following and not self.catalog.is_empty():
            raise RequestError(
                "Builds before this position are in the archive, which is listed by app.",
                advice="Name the tenant and the app.",
            )
        return found, following

    def _records(self, place: str, since: float) -> list[dict[str, str]]:
        """The records of archived builds of a tenant/app that ended since then."""
        shelf = self._shelf(place)
        while True:
            packs = self.catalog.packs(place)
            recent = [pack for pack in packs if pack.last > since - _WAITED_SECONDS]
            try:
                records = [row.record for pack in recent for row in shelf.index(pack).rows]
            except UnavailableError:
                raise
            except (RegistryError, ValueError) as error:
                if self.catalog.packs(place) != packs:
                    continue  # the archivist joined packs meanwhile, and the registry forgot the old ones
                raise RegistryError(
                    f"A pack of the archive cannot be read, so the images in it are not known: {_reason(error)}",
                    advice=_ADVICE,
                ) from error
            return [record for record in records if float(record.get("finished_at") or since) >= since]

    def _shelf(self, place: str) -> Shelf:
        return shelves.Shelf(self.registry(), shelves.repository_of(place))

    def _find(self, build_id: str) -> tuple[Shelf, Index, Row] | None:
        """An archived build; None if it is not archived. Raises RegistryError."""
        noted = self.catalog.where(build_id)
        if noted is None:
            return None
        place, second = noted
        shelf = self._shelf(place)
        damaged: RegistryError | None = None
        for pack in self.catalog.packs(place):
            if not int(pack.first) <= second <= pack.last:
                continue
            try:
                index = self._index(shelf, pack)
            except RegistryError as error:
                damaged = error
                continue
            for row in index.rows:
                if row.id == build_id:
                    return shelf, index, row
        if damaged:
            raise RegistryError(
                f"Build {build_id[:80]} is in the archive, and cannot be read: {damaged.message}", advice=_ADVICE
            ) from damaged
        return None

    def _index(self, shelf: Shelf, pack: Shelved) -> Index:
        index = self._indexes.get(pack.index)
        if index is None:
            index = self._indexes[pack.index] = shelf.index(pack)
            for oldest in list(self._indexes)[:-_INDEXES_MAX]:
                self._indexes.pop(oldest, None)
        return index


def _named(lines: Iterator[LogLine], after: str, where: str) -> Iterator[LogLine]:
    """The lines after a position; where they cannot be read, a last one says what is lost and why."""
    last, order = LogLine(position=after, attempt=0, phase=Phase.PUBLISH, text=""), position_of(after)
    try:
        for line in lines:
            if position_of(line.position) > order:
                yield (last := line)
    except (RegistryError, ValueError) as error:
        is_late = isinstance(error, UnavailableError)
        what = "cannot be read now; ask again" if is_late else "is lost"
        told = f"[The rest of this log {what}. In the registry, {where}: {_reason(error)}]"
        yield last.model_copy(update={"text": told})


def _packed(shelf: Shelf, index: Index, row: Row) -> Iterator[LogLine]:
    if row.size:
        yield from log_text.decode_log(shelf.log(index, row))


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, RegistryError) else f"{error}."
