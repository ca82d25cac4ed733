"""What looks after packs that nobody reads: some at a time, until all were looked at, and then from the beginning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from buildfarm.errors import RegistryError
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive.catalog import Catalog
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.archive.shelf import Shelf, repository_of
from buildfarm.store.archive.tally import Tally
from buildfarm.store.keeping.apps import Apps
from buildfarm.telemetry import Logger

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry

_LOOKS = 5  # packs at once, of three requests each
_COUNT_SECONDS = 60.0
_COUNT_SHARE = 100  # and counting takes no more than one in so many seconds


@dataclass
class Patrol:
    """Reports to `Tally` what packs there are, and which are damaged. Methods raise StoreError and RegistryError."""

    catalog: Catalog
    registry: Registry
    logger: Logger
    _round: Iterator[tuple[str, Shelved]] = field(default_factory=lambda: iter(()))
    _count_at: float = 0.0
    _apps_listed: bool = False

    @property
    def tally(self) -> Tally:
        """Where its findings go."""
        return Tally(self.catalog.database)

    def look(self, packs: int = _LOOKS) -> int:
        """Looks at the next packs; returns at how many, fewer at the end of a round."""
        looked = 0
        for place, pack in islice(self._round, packs):
            looked += 1
            self._look_at(place, pack)
        if looked < packs:
            self._round = iter(self._all())
        return looked

    def count(self) -> None:
        """Counts the packs, if the last time is long enough ago."""
        began = time.monotonic()
        if began < self._count_at:
            return
        found = list(self._all())
        self.tally.counted(pack for _, pack in found)
        if not self._apps_listed:  # of those that an older version built
            apps = Apps(self.catalog.database)
            apps.add({place: pack.last for place, pack in found})  # the newest pack is the last
            apps.add_recent()
            self._apps_listed = True
        packs = {_reference(place, pack): (place, pack) for place, pack in found}
        known = self.tally.damaged()
        for gone in known - packs.keys():
            self.tally.forget_damaged(gone)
        ended = time.monotonic()
        self._count_at = ended + max(_COUNT_SECONDS, _COUNT_SHARE * (ended - began))
        # A pack that was restored does not have to wait for its turn.
        for reference in sorted(known & packs.keys())[:_LOOKS]:
            self._look_at(*packs[reference])

    def note(self, place: str, pack: Shelved, error: RegistryError) -> None:
        """A pack could not be read: it is damaged, unless others have put another in its place."""
        self.registry.ping()  # if it lets nobody in, that says nothing of this pack
        if pack in self.catalog.packs(place) and self.tally.note_damaged(_reference(place, pack)):
            self.logger.warning("pack_damaged", repository=repository_of(place), reason=error.message)

    def _look_at(self, place: str, pack: Shelved) -> None:
        try:
            Shelf(self.registry, repository_of(place)).check(pack)
        except UnavailableError:
            raise
        except RegistryError as error:
            self.note(place, pack, error)
        else:
            self.tally.forget_damaged(_reference(place, pack))

    def _all(self) -> Iterator[tuple[str, Shelved]]:
        return ((place, pack) for place in self.catalog.places() for pack in self.catalog.packs(place))


def _reference(place: str, pack: Shelved) -> str:
    return f"{place} {pack.manifest}"
