"""Apps by when they were built last, each with what became of its newest builds; and builds by their image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.model import IMAGES
from buildfarm.store.database import Database

_SCANNED = 2000  # names that Redis looks at in one step
_AT_ONCE = 1000
_RECENT = 20_000  # builds that `add_recent` looks at
_BESIDE = 20  # apps of the same moment that may have been on the page before


@dataclass(frozen=True)
class Ending:
    """An ended build of an app; it has no seconds if nothing was built, and no bytes without an image."""

    build_id: str
    state: str
    seconds: float | None
    image_bytes: int

    @classmethod
    def decode(cls, text: str) -> Ending:
        """Read what scripts/_apps.lua wrote, and what a later version adds to it."""
        build_id, state, seconds, image_bytes = text.split(" ")[:4]
        return cls(build_id, state, None if seconds == "-" else float(seconds), int(image_bytes))


@dataclass(frozen=True)
class AppRow:
    """An app in a list; the newest build has no id if the farm no longer has any."""

    place: str  # tenant/app
    submitted_at: float  # the newest build
    build_id: str
    state: str
    phase: str
    image: str  # the digest that its tag is to point to
    endings: tuple[Ending, ...]  # the newest last


@dataclass(frozen=True)
class Apps:
    """Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def page(self, limit: int, *, tenant: str | None = None, after: str = "") -> tuple[list[AppRow], str | None]:
        """Return a page of apps, those built last first, and where the next page begins: None at the end."""
        index = self.database.key("apps", tenant) if tenant else self.database.key("apps")
        time, _, last = after.partition(" ")
        with self.database.failures():
            found: Any = self.database.client.zrange(
                index, time or "+inf", "-inf", desc=True, byscore=True, withscores=True, offset=0,
                num=limit + 1 + _BESIDE,
            )  # fmt: skip
        below = [(place, at) for place, at in found if not after or (at, place) < (float(time), last)]
        rows = self._rows(below[:limit])
        return rows, f"{rows[-1].submitted_at:.6f} {rows[-1].place}" if len(below) > limit else None

    def matching(self, text: str, limit: int, *, tenant: str | None = None) -> list[AppRow]:
        """Return apps that have a text in their name (`tenant/app`), those built last first."""
        index = self.database.key("apps", tenant) if tenant else self.database.key("apps")
        found: dict[str, float] = {}
        if not re.fullmatch(r"[a-z0-9./-]+", text):
            return []
        with self.database.failures():
            for place, at in self.database.client.zscan_iter(index, match=f"*{text}*", count=_SCANNED):
                found[place] = at
        newest = sorted(found.items(), key=lambda entry: entry[::-1], reverse=True)
        return self._rows(newest[:limit])

    def builds_of_image(self, digest: str, *, tenant: str | None = None) -> list[str]:
        """Return builds whose image's digest begins so: at least 6 hex digits, of which the first 16 count.

        Those of other tenants are left out as far as is known here: an older version did not note the tenant.
        """
        if not re.fullmatch(r"[0-9a-f]{6,64}", digest):
            return []
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("images", str(int(digest[:3], 16))))
        return [
            told.split(" ")[0]
            for rest, told in sorted(found.items())
            if rest.startswith(digest[3:16]) and tenant in (None, rest.partition(" ")[2] or tenant)
        ]

    def add(self, places: Mapping[str, float]) -> None:
        """List apps that an older version of the farm archived, each by when its newest build was submitted."""
        apps = [(place, at) for place, at in places.items() if not place.startswith(f"{IMAGES}/")]
        with self.database.failures():
            for first in range(0, len(apps), _AT_ONCE):
                pipeline = self.database.client.pipeline(transaction=False)
                for place, at in apps[first : first + _AT_ONCE]:
                    pipeline.zadd(self.database.key("apps"), {place: at}, gt=True)
                    pipeline.zadd(self.database.key("apps", place.partition("/")[0]), {place: at}, gt=True)
                pipeline.execute()

    def add_recent(self) -> None:
        """List apps by the newest builds in Redis, which an older version may have made."""
        for first in range(0, _RECENT, _AT_ONCE):
            with self.database.failures():
                found: Any = self.database.client.zrange(
                    self.database.key("builds"), first, first + _AT_ONCE - 1, desc=True, withscores=True
                )
                pipeline = self.database.client.pipeline(transaction=False)
                for build_id, _ in found:
                    pipeline.hget(self.database.key("build", build_id), "place")
                places: Any = pipeline.execute()
            newest_last = reversed(list(zip(places, found, strict=True)))
            self.add({"/".join(place.split(" ")[:2]): at for place, (_, at) in newest_last if place})
            if len(found) < _AT_ONCE:
                return

    def _rows(self, found: Sequence[tuple[str, float]]) -> list[AppRow]:
        """Two rounds to Redis, however many apps there are."""
        key = self.database.key
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for place, _ in found:
                pipeline.zrange(key("app", place), 0, 0, desc=True)
                pipeline.lrange(key("trend", place), 0, -1)
                pipeline.hget(key("tags"), f"apps/{place}")
            told = pipeline.execute()
            live = [ids[0] if ids else "" for ids in told[::3]]
            for build_id in live:
                pipeline.hmget(key("build", build_id), ["state", "phase"])
            states = pipeline.execute()
        return [
            _row(app, newest, state, trend, image or "")
            for app, newest, state, trend, image in zip(found, live, states, told[1::3], told[2::3], strict=True)
        ]


def _row(app: tuple[str, float], newest: str, told: Sequence[str | None], trend: Sequence[str], image: str) -> AppRow:
    state, phase = told
    endings = tuple(Ending.decode(text) for text in reversed(trend))
    if state is None:  # it is in the archive, or nowhere
        newest, state = (endings[-1].build_id, endings[-1].state) if endings else ("", "")
    return AppRow(*app, newest, state, phase or "", image, endings)
