"""What Redis knows of the archive: the packs of each app, and of each archived build its app and its time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buildfarm.model import State
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.database import Database

if TYPE_CHECKING:
    from buildfarm.store.archive.pack import Position

_INPUTS = 20  # of an app, that an image is remembered for
BUCKETS = 4096  # as in scripts/_archived.lua
_Fields = tuple[str | None, str | None, str | None, str | None, str | None]
_LOOKED_UP = ["state", "finished_at", "place", "archived", "log_waits"]
_FORGET = 500  # builds at once


@dataclass(frozen=True)
class Ended:
    """A build that has ended."""

    id: str
    place: str  # tenant/app
    finished_at: float
    archived: bool  # its record is here for lists alone
    waits: bool  # a node has its log


@dataclass(frozen=True)
class Joined:
    """A new pack of an app, and what it takes the place of."""

    place: str
    pack: Shelved
    loose: str  # the note that `Catalog.note_loose` made of it
    old: Sequence[Shelved] = ()
    builds: Sequence[str] = ()  # those that leave Redis now
    gone: Sequence[str] = field(default=())  # "repository digest" of what the registry is to forget


@dataclass(frozen=True)
class Catalog:
    """Every method raises StoreError where Redis cannot be reached."""

    database: Database
    record_seconds: float = 7 * 86400
    kept: int = 200  # records of the newest builds that stay in lists of all builds,
    tenant_kept: int = 50  # and in a tenant's; archived builds beyond them are listed by app

    def packs(self, place: str) -> list[Shelved]:
        """The packs of a tenant/app, the newest last."""
        with self.database.failures():
            found: Any = self.database.client.zrange(self._packs(place), 0, -1)
        return [Shelved.decode(text) for text in found]

    def is_empty(self) -> bool:
        """Whether nothing was archived yet."""
        with self.database.failures():
            return not self.database.client.exists(self.database.key("archive", "apps"))

    def where(self, build_id: str) -> tuple[str, int] | None:
        """The tenant/app of an archived build and the second in which it was submitted; None if it is not archived."""
        with self.database.failures():
            found: Any = self.database.client.hget(self._bucket(build_id), build_id)
        if found is None:
            return None
        place, second = found.split(" ")[:2]
        return place, int(second)

    def build_of(self, place: str, input_digest: str) -> str:
        """The archived build of a tenant/app that had this input; empty if its newest ones had others."""
        with self.database.failures():
            found: Any = self.database.client.zrevrange(self.database.key("memos", place), 0, -1)
        return next((name.partition(" ")[2] for name in found if name.startswith(f"{input_digest} ")), "")

    def ended(self, after: float, limit: int, *, seconds: float) -> tuple[list[Ended], float | None]:
        """Builds that ended so long ago, of the next ones in the list of all builds; and where to look next.

        A look takes builds that were submitted after a time, oldest first; None: there are no more. Builds whose record
        has expired leave the list: they were among the newest until then.
        """
        before = self.database.now() - seconds
        with self.database.failures():
            ids: Any = self.database.client.zrange(
                self.database.key("builds"), f"({after!r}", before, byscore=True, offset=0, num=limit, withscores=True
            )
        names = [name for name, _ in ids]
        fields = self._fields(names)
        self._unlist([name for name, (state, *_) in zip(names, fields, strict=True) if state is None])
        found = _ended_of(names, fields)
        return [build for build in found if build.finished_at <= before], ids[-1][1] if len(ids) == limit else None

    def ended_of(self, place: str, *, seconds: float, patience_seconds: float) -> list[Ended]:
        """Builds of an app that ended so long ago and are not archived.

        Those whose log is still on its node are given more time. Builds whose record expired before they could
        be archived leave the lists.
        """
        now = self.database.now()
        with self.database.failures():
            ids: Any = self.database.client.zrange(self.database.key("app", place), 0, -1)
        fields = self._fields(ids)
        expired = [name for name, (state, *_) in zip(ids, fields, strict=True) if state is None]
        if expired:
            self.leave(place, expired)
        return [
            build
            for build in _ended_of(ids, fields)
            if not build.archived and now - build.finished_at >= (patience_seconds if build.waits else seconds)
        ]

    def records(self, ids: Iterable[str]) -> list[dict[str, str]]:
        """The records of these builds as Redis has them, without those that are gone."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for build_id in ids:
                pipeline.hgetall(self.database.key("build", build_id))
            return [fields for fields in pipeline.execute() if fields]

    def join(self, joined: Joined) -> bool:
        """Puts a pack in the place of others, and its builds leave Redis; False if another node was faster.

        Then nothing has changed, and the builds are still in Redis.
        """
        return self._change(
            joined.place,
            pack=joined.pack.encode(),
            loose=joined.loose,
            old=[pack.encode() for pack in joined.old],
            gone=list(joined.gone),
            builds=list(joined.builds),
        )

    def add(self, place: str, pack: Shelved, builds: Sequence[Position]) -> None:
        """Puts a pack that the registry has in the list; those of its builds that have ended leave Redis."""
        for start in range(0, len(builds), _FORGET):
            with self.database.failures():
                pipeline = self.database.client.pipeline(transaction=False)
                for second, build_id in builds[start : start + _FORGET]:
                    pipeline.hset(self._bucket(build_id), build_id, f"{place} {int(second)}")
                pipeline.execute()
        ended = self._looked_up([build_id for _, build_id in builds])
        self._change(place, pack=pack.encode(), builds=[build.id for build in ended if not build.archived])

    def forget_builds(self, known: Mapping[str, Collection[str]]) -> None:
        """Forgets archived builds of each tenant/app in ``known`` that are not among these."""
        for number in range(BUCKETS):
            key = self.database.key("archived", str(number))
            with self.database.failures():
                found: Any = self.database.client.hgetall(key)
                noted = [(build_id, value.split(" ")[0]) for build_id, value in found.items()]
                stale = [build_id for build_id, place in noted if place in known and build_id not in known[place]]
                if stale:
                    self.database.client.hdel(key, *stale)

    def leave(self, place: str, builds: Sequence[str]) -> None:
        """Archived builds leave lists too, unless they are still among the newest."""
        self._change(place, builds=list(builds))

    def expired(self, before: float, limit: int) -> list[tuple[str, Shelved]]:
        """Packs with no build that was submitted after a time."""
        with self.database.failures():
            places: Any = self.database.client.zrange(
                self.database.key("archive", "apps"), "-inf", before, byscore=True, offset=0, num=limit
            )
        return [(place, pack) for place in places for pack in self.packs(place) if pack.last <= before][:limit]

    def remove(self, place: str, pack: Shelved, builds: Sequence[str], gone: str) -> None:
        """Forgets a pack and its builds."""
        for start in range(0, len(builds), _FORGET):
            with self.database.failures():
                pipeline = self.database.client.pipeline(transaction=False)
                for build_id in builds[start : start + _FORGET]:
                    pipeline.hdel(self._bucket(build_id), build_id)
                pipeline.execute()
        self._change(place, old=[pack.encode()], gone=[gone])

    def forget(self, place: str, pack: Shelved) -> None:
        """Takes a pack that the registry has lost from the list. Should it come back, nothing deletes it."""
        self._change(place, old=[pack.encode()])

    def note_loose(self, reference: str) -> None:
        """The registry may have a manifest that no list names, should this process die now."""
        with self.database.failures():
            self.database.client.sadd(self.database.key("archive", "loose"), reference)

    def loose(self, limit: int) -> list[str]:
        """Some of what the registry is to forget, as "repository digest"."""
        with self.database.failures():
            found: Any = self.database.client.srandmember(self.database.key("archive", "loose"), limit)
        return list(found or ())

    def forgotten(self, reference: str) -> bool:
        """Takes the note away; False if another process did."""
        with self.database.failures():
            return bool(self.database.client.srem(self.database.key("archive", "loose"), reference))

    def places(self) -> list[str]:
        """Every tenant/app that has a pack."""
        with self.database.failures():
            found: Any = self.database.client.zrange(self.database.key("archive", "apps"), 0, -1)
        return list(found)

    def digests(self) -> set[str]:
        """The manifests of all packs."""
        return {str(pack.manifest) for place in self.places() for pack in self.packs(place)}

    def _change(self, place: str, **told: Any) -> bool:
        tenant, _, app = place.partition("/")
        terms = {
            "tenant": tenant, "app": app, "pack": "", "loose": "", "old": [], "gone": [], "builds": [],
            "kept": self.kept, "tenant_kept": self.tenant_kept, "inputs": _INPUTS,
            "record_seconds": max(1, int(self.record_seconds)),
        }  # fmt: skip
        return bool(self.database.run("archive", [self.database.namespace], json.dumps({**terms, **told})))

    def _looked_up(self, ids: Sequence[str]) -> list[Ended]:
        return _ended_of(ids, self._fields(ids))

    def _fields(self, ids: Sequence[str]) -> list[_Fields]:
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for build_id in ids:
                pipeline.hmget(self.database.key("build", build_id), _LOOKED_UP)
            return list(pipeline.execute())

    def _unlist(self, ids: Sequence[str]) -> None:
        """Builds without a record leave lists, their tenant's too as long as the archive has them."""
        by_place: dict[str, list[str]] = {}
        for build_id in ids:
            place, _ = self.where(build_id) or ("", 0)
            by_place.setdefault(place, []).append(build_id)
        for place, builds in by_place.items():
            self.leave(place, builds)

    def _packs(self, place: str) -> str:
        return self.database.key("archive", place)

    def _bucket(self, build_id: str) -> str:
        number = int(hashlib.sha1(build_id.encode(), usedforsecurity=False).hexdigest()[:8], 16) % BUCKETS
        return self.database.key("archived", str(number))


def _ended_of(ids: Sequence[str], fields: Sequence[_Fields]) -> list[Ended]:
    return [
        Ended(build_id, "/".join(place.split(" ")[:2]), float(finished), archived is not None, waits is not None)
        for build_id, (state, finished, place, archived, waits) in zip(ids, fields, strict=True)
        if state in _FINAL and finished and place
    ]


_FINAL = frozenset(state.value for state in State if state.final)
