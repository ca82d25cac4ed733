"""Facts of layers in Redis, by diff ID. They follow from the layers: what is lost, or expires, is read again."""

from __future__ import annotations

import base64
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.layer import COMPONENTS_VERSION, VERSION, LayerFacts, Unread, decode
from buildfarm.releases.facts.progress import UNREAD_SECONDS, Progress
from buildfarm.releases.facts.wanted import Urgency, WantedImages
from buildfarm.store.database import Database

KEPT_SECONDS = 7 * 86_400  # since the newest read
FAILED_SECONDS = 3600  # then what could not be read is tried again
_RENEW_SECONDS = 3600.0
_SHARES = {Urgency.LATER: 0.5, Urgency.APP: 0.75}  # of Redis's memory; builds need the rest
_REMEMBERED_BYTES = 4 * 1024 * 1024  # packed, which is about 15 times as much when it is not


@dataclass
class _Known:
    facts: LayerFacts
    size_bytes: int
    renew_at: float


@dataclass(frozen=True)
class FactsStore:
    """Every method raises StoreError if Redis cannot be reached. Safe for several threads."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def wanted(self) -> WantedImages:
        """The images that nodes are to read."""
        return WantedImages(self.database)

    @property
    def progress(self) -> Progress:
        """Whether nodes go on."""
        return Progress(self.database)

    def get(self, diff_ids: Iterable[Digest], *, of_base: bool = False) -> dict[Digest, LayerFacts]:
        """The facts of those layers that have any; reading keeps them. Those of a base are not remembered here."""
        wanted = list(dict.fromkeys(diff_ids))
        now = self.clock()
        with self._lock:
            known = {one: self._known[one] for one in wanted if one in self._known}
        found = {one: what.facts for one, what in known.items()}
        old = [one for one, what in known.items() if what.renew_at <= now]
        asked = [one for one in wanted if one not in found]
        for one, text in zip(asked, self._read(asked, old), strict=True):
            if text is not None:
                try:
                    facts = decode(base64.b64decode(text), of_base=of_base)
                except ValueError as error:  # such as a layer of a base in an app
                    facts = LayerFacts(unknown=str(error))
                found[one] = facts
                if not of_base:
                    self._remember(one, facts, len(text))
        for one in old:
            known[one].renew_at = now + _RENEW_SECONDS
        return found

    def put(self, diff_id: Digest, facts: LayerFacts, *, failed: bool = False) -> None:
        """Keeps a layer's facts; those of one that ``failed`` to be read for an hour."""
        key, seconds = (self._failed(diff_id), FAILED_SECONDS) if failed else (self._key(diff_id), KEPT_SECONDS)
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            pipeline.set(key, base64.b64encode(facts.encode()).decode(), ex=seconds)
            pipeline.set(self.progress.key, 1, ex=UNREAD_SECONDS)
            pipeline.execute()

    def lacking(self, layers: Mapping[Digest, Unread]) -> list[Unread]:
        """Those without facts, or whose components are not known; asking keeps the others'."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for one in layers:
                pipeline.expire(self._key(one), KEPT_SECONDS)
                pipeline.expire(components_key(self.database, one), KEPT_SECONDS)
                pipeline.exists(self._failed(one))
            known = pipeline.execute() if layers else []
        rows = zip(layers.values(), known[::3], known[1::3], known[2::3], strict=True)
        return [unread for unread, *both, has_failed in rows if not (all(both) or has_failed)]

    def room(self) -> Urgency | None:
        """The least urgent facts for which Redis has memory, of which the urgent may take more; None: for none."""
        with self.database.failures():
            info: Any = self.database.client.info("memory")
        if not info["maxmemory"]:
            return Urgency.LATER
        used = info["used_memory"] / info["maxmemory"]
        return next((urgency for urgency, share in _SHARES.items() if used < share), None)

    def _read(self, asked: list[Digest], old: list[Digest]) -> list[str | None]:
        if not asked and not old:
            return []
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for one in asked:
                pipeline.getex(self._key(one), ex=KEPT_SECONDS)
                pipeline.get(self._failed(one))
            for one in old:
                pipeline.expire(self._key(one), KEPT_SECONDS)
            texts = pipeline.execute()[: 2 * len(asked)]
        return [kept or failed for kept, failed in zip(texts[::2], texts[1::2], strict=True)]

    def _remember(self, diff_id: Digest, facts: LayerFacts, size_bytes: int) -> None:
        if facts.unknown:
            return  # it may be read again
        with self._lock:
            self._known[diff_id] = _Known(facts, size_bytes, self.clock() + _RENEW_SECONDS)
            while sum(known.size_bytes for known in self._known.values()) > _REMEMBERED_BYTES:
                self._known.popitem(last=False)

    def _key(self, diff_id: Digest) -> str:
        return self.database.key("facts", str(VERSION), diff_id.hex)

    def _failed(self, diff_id: Digest) -> str:
        return failed_key(self.database, diff_id)


def components_key(database: Database, diff_id: Digest) -> str:
    """Where the components of a layer are kept, which nodes find at the same time."""
    return database.key("components", str(COMPONENTS_VERSION), diff_id.hex)


def failed_key(database: Database, diff_id: Digest) -> str:
    """Where it is noted that a layer could not be read."""
    return database.key("facts-failed", str(VERSION), diff_id.hex)
