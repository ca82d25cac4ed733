"""An app's builds, newest first: those in Redis, and those in packs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from buildfarm.model import Build
from buildfarm.store.archive.catalog import Catalog
from buildfarm.store.archive.listing import Entry, Unread
from buildfarm.store.archive.pack import Index, Position, Row
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.pages import Pages
from buildfarm.store.records import decode_all

_Found = tuple[list[tuple[str, dict[str, str]]], bool]


@dataclass(frozen=True)
class AppHistory:
    """Where the builds of one tenant/app are. Every method raises StoreError."""

    place: str
    pages: Pages
    catalog: Catalog
    limit: int  # builds that are read from Redis at once
    index: Callable[[Shelved], Index]  # reads it; raises RegistryError

    def sources(self, after: str) -> list[Unread]:
        """Everything below a position in a list, to be read as far as it is needed."""
        newest = parsed(after)[0] if after else float("inf")
        # Redis comes first: a build that is archived in between is then in both, and not in neither.
        live = self._live(newest, self._next_in_redis(after))
        return [live, *(self._archived(pack) for pack in self.catalog.packs(self.place) if pack.first <= newest)]

    def _next_in_redis(self, position: str) -> _Found:
        tenant, _, app = self.place.partition("/")
        return self.pages.of_app(tenant, app, position, self.limit)

    def _live(self, newest: float, known: _Found | None, position: str = "") -> Unread:
        def read() -> tuple[list[Entry], Unread | None]:
            found, is_full = known or self._next_in_redis(position)
            entries = [_entry_of(where, record) for where, record in found]
            return entries, self._live(entries[-1].position[0], None, found[-1][0]) if is_full else None

        return Unread(newest, read)

    def _archived(self, pack: Shelved) -> Unread:
        what = f"{pack.builds} builds of {self.place}, submitted from {_minute(pack.first)} to {_minute(pack.last)}"
        return Unread(pack.last, lambda: ([_entry_in(row) for row in self.index(pack).rows], None), what)


def parsed(position: str) -> Position:
    """A position in a list, to be compared."""
    at, _, build_id = position.partition(":")
    return float(at), build_id


def _entry_of(position: str, record: dict[str, str]) -> Entry:
    return Entry(parsed(position), record.get("state", ""), lambda: next(decode_all([record])))


def _entry_in(row: Row) -> Entry:
    return Entry(row.position, row.state, lambda: _read(row))


def _read(row: Row) -> Build | None:
    try:
        return next(decode_all([row.record]))
    except ValueError:
        return None  # as one that only a later version can read


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
