"""Moves of apps' newest images to other bases, each written in one step with the record of the newest image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from buildfarm.errors import UnconfirmedError
from buildfarm.releases.models import Rebase
from buildfarm.store.database import Database

REBASES_MAX = 20  # of an app, in its list
KEPT_SECONDS = 400 * 86_400
_PAGE = 500


@dataclass(frozen=True)
class Rebases:
    """Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def move(self, target: str, rebase: Rebase) -> str:
        """Makes it the newest image, and returns which one is now: a build's, if one has published meanwhile.

        Raises UnconfirmedError if too few replicas of Redis have it.
        """
        key = self.database.key
        keys = [key("tags"), key("unsettled"), key("rebases", target.removeprefix("apps/"))]
        entry = rebase.model_dump_json()
        newest, confirmed = self.database.run_confirmed(
            "rebase", keys, target, rebase.previous, rebase.image, entry, REBASES_MAX, KEPT_SECONDS
        )
        if not confirmed:
            raise UnconfirmedError(
                f"{target.removeprefix('apps/')} was moved, but too few replicas of Redis had it in time.",
                advice="Look at the app's image in a minute, and move it again if it is not on the new base.",
            )
        return str(newest)

    def of(self, tenant: str, app: str) -> tuple[Rebase, ...]:
        """The app's newest ones, the newest first."""
        with self.database.failures():
            found: Any = self.database.client.lrange(self.database.key("rebases", f"{tenant}/{app}"), 0, -1)
        return tuple(_decode(entry) for entry in found)

    def all(self) -> Iterator[tuple[Rebase, ...]]:
        """Those of each app."""
        with self.database.failures():
            names = self.database.client.scan_iter(f"{self.database.key('rebases', '')}*", count=_PAGE)
            while page := list(islice(names, _PAGE)):
                pipeline = self.database.client.pipeline(transaction=False)
                for name in page:
                    pipeline.lrange(name, 0, -1)
                yield from (tuple(_decode(entry) for entry in found) for found in pipeline.execute())


@dataclass(frozen=True)
class Moves:
    """What the moves of all apps say of images; ``previous`` are those that apps can go back to."""

    previous: frozenset[str]
    _origins: Mapping[str, str]

    @classmethod
    def of(cls, found: Iterable[Sequence[Rebase]]) -> Moves:
        """Made of each app's moves, the newest first."""
        apps = [moves for moves in found if moves]
        origins = {one.image: one.built or one.previous for moves in apps for one in reversed(moves)}
        return cls(frozenset(moves[0].previous for moves in apps), origins)

    def origin(self, image: str) -> str:
        """The image that a build made, of which this one is on another base; itself if it was not moved."""
        return self._origins.get(image, image)


def _decode(entry: str) -> Rebase:
    return Rebase.model_validate_json(entry, extra="ignore")
