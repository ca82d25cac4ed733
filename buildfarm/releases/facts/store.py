"""Facts of layers in Redis, by diff ID, and the layers that a node is still to read.

Facts follow from the layers, which the registry has: what is lost here, or expires, is read again.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.layer import VERSION, LayerFacts, decode
from buildfarm.store.database import Database

WANTED_MAX = 20_000  # images
KEPT_SECONDS = 7 * 86_400  # since the newest read
FAILED_SECONDS = 3600  # then what could not be read is tried again
_SHARE_MAX = 0.5  # of Redis's memory; builds need the rest
_LOOK_AT = 20  # images that others may have taken
_TAKEN_SECONDS = 600  # a node that takes longer for one image is gone
_REMEMBERED_BYTES = 4 * 1024 * 1024  # packed, which is about 15 times as much when it is not


@dataclass(frozen=True)
class Unread:
    """A layer without facts: its blob and what identifies its content."""

    digest: str
    size_bytes: int
    diff_id: str


@dataclass(frozen=True)
class FactsStore:
    """Every method raises StoreError if Redis cannot be reached. Safe for several threads."""

    database: Database
    _known: OrderedDict[str, tuple[LayerFacts, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, diff_ids: Iterable[Digest], *, of_base: bool = False) -> dict[Digest, LayerFacts]:
        """The facts of those layers that have any; reading keeps them."""
        wanted = list(dict.fromkeys(diff_ids))
        with self._lock:
            found = {one: self._known[one][0] for one in wanted if one in self._known}
        asked = [one for one in wanted if one not in found]
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for one in asked:
                pipeline.getex(self._key(one), ex=KEPT_SECONDS)
                pipeline.get(self._failed(one))
            texts = pipeline.execute() if asked else []
        for one, *either in zip(asked, texts[::2], texts[1::2], strict=True):
            if (text := either[0] or either[1]) is not None:
                try:
                    facts = decode(base64.b64decode(text), of_base=of_base)
                except ValueError as error:  # such as a layer of a base in an app
                    facts = LayerFacts(unknown=str(error))
                found[one] = facts
                self._remember(one, facts, len(text))
        return found

    def put(self, diff_id: Digest, facts: LayerFacts, *, failed: bool = False) -> None:
        """Keeps a layer's facts; those of one that ``failed`` to be read for an hour."""
        key, seconds = (self._failed(diff_id), FAILED_SECONDS) if failed else (self._key(diff_id), KEPT_SECONDS)
        with self.database.failures():
            self.database.client.set(key, base64.b64encode(facts.encode()).decode(), ex=seconds)

    def want(self, image: str, layers: Sequence[Unread]) -> None:
        """Asks the nodes to read these layers of an image, repository@digest; what is asked for twice is read once."""
        key = self.database.key("facts-wanted")
        with self.database.failures():
            if self.database.client.hlen(key) < WANTED_MAX:
                self.database.client.hset(key, image, json.dumps([vars(layer) for layer in layers]))

    def take(self) -> tuple[str, list[Unread]] | None:
        """An image whose layers this process is to read now; no other takes it until `done`, or for ten minutes."""
        with self.database.failures():
            client: Any = self.database.client
            for image in client.hrandfield(self.database.key("facts-wanted"), _LOOK_AT) or ():
                text = client.hget(self.database.key("facts-wanted"), image)
                if text and client.set(self._taken(image), 1, nx=True, ex=_TAKEN_SECONDS):
                    return image, [Unread(**layer) for layer in json.loads(text)]
        return None

    def has_room(self) -> bool:
        """Whether Redis has memory for more facts."""
        with self.database.failures():
            info: Any = self.database.client.info("memory")
        return not info["maxmemory"] or info["used_memory"] < info["maxmemory"] * _SHARE_MAX

    def done(self, image: str) -> None:
        """Its layers have been read."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            pipeline.hdel(self.database.key("facts-wanted"), image)
            pipeline.delete(self._taken(image))
            pipeline.execute()

    def lacking(self, layers: Mapping[Digest, Unread]) -> list[Unread]:
        """Those without facts; reading keeps the others'."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            for one in layers:
                pipeline.expire(self._key(one), KEPT_SECONDS)
                pipeline.exists(self._failed(one))
            known = pipeline.execute() if layers else []
        pairs = zip(layers.values(), known[::2], known[1::2], strict=True)
        return [unread for unread, is_known, has_failed in pairs if not (is_known or has_failed)]

    def _remember(self, diff_id: Digest, facts: LayerFacts, size_bytes: int) -> None:
        if facts.unknown:
            return  # it may be read again
        with self._lock:
            self._known[diff_id] = facts, size_bytes
            while sum(size for _, size in self._known.values()) > _REMEMBERED_BYTES:
                self._known.popitem(last=False)

    def _key(self, diff_id: Digest) -> str:
        return self.database.key("facts", str(VERSION), diff_id.hex)

    def _failed(self, diff_id: Digest) -> str:
        return self.database.key("facts-failed", diff_id.hex)

    def _taken(self, image: str) -> str:
        return self.database.key("facts-taken", image)
