"""Images whose layers a node is to read, the most urgent first. In Redis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.progress import UNREAD_SECONDS, Progress
from buildfarm.store.database import Database

WANTED_MAX = 20_000  # images for which nothing waits; twice as many in all
HELD_SECONDS = 180  # a node that has not renewed its hold of an image for so long is gone
REFUSED_SECONDS = 600  # then an image that could not be read at all is tried again, if anything waits for it
_LOOK_AT = 200  # images that others may read
_KEPT_SECONDS = 86_400  # of the whole queue, since the newest request: then no node takes images
_AGAIN_SECONDS = 60  # after a first failure
_AGAIN_SECONDS_MAX = 600
_WHY_CHARS_MAX = 1000


class Urgency(IntEnum):
    """What waits for an image's layers."""

    BASE = 0  # every app that is to move to or from this base
    APP = 1  # one app that is to move
    LATER_BASE = 2  # nothing yet; apps that are to move from or to this base will need it
    LATER = 3  # nothing yet


@dataclass(frozen=True)
class WantedImages:
    """Images are repository@digest. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def add(self, image: str, urgency: Urgency) -> None:
        """Asks the nodes to read an image's layers; the most urgent request counts."""
        limit = WANTED_MAX if urgency >= Urgency.LATER_BASE else 2 * WANTED_MAX
        with self.database.failures():
            if self.database.client.zcard(self._key) < limit:
                pipeline: Any = self.database.client.pipeline(transaction=False)
                pipeline.zadd(self._key, {image: int(urgency)}, lt=True)
                pipeline.expire(self._key, _KEPT_SECONDS)
                pipeline.execute()

    def take(self, least: Urgency = Urgency.LATER) -> str | None:
        """An image that this process is to read; no other takes it while it is held, and for 3 minutes at most."""
        with self.database.failures():
            client: Any = self.database.client
            for start in range(0, 2 * WANTED_MAX, _LOOK_AT):
                images = client.zrangebyscore(self._key, "-inf", int(least), start=start, num=_LOOK_AT)
                taken = client.mget([self._taken(image) for image in images]) if images else []
                for image, is_taken in zip(images, taken, strict=True):
                    if not is_taken and client.set(self._taken(image), 1, nx=True, ex=HELD_SECONDS):
                        return str(image)
                if len(images) < _LOOK_AT:
                    break
        return None

    def hold(self, image: str) -> None:
        """This process still reads it: nodes go on."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline(transaction=False)
            pipeline.set(self._taken(image), 1, ex=HELD_SECONDS)
            pipeline.set(Progress(self.database).key, 1, ex=UNREAD_SECONDS)
            pipeline.execute()

    def put_back(self, image: str) -> None:
        """Another process, or this one, reads the rest of it."""
        with self.database.failures():
            self.database.client.delete(self._taken(image))

    def put_off(self, image: str) -> None:
        """It could not be read now, and is tried again after a minute, later after ten."""
        tries = self._count(image)
        seconds = min(_AGAIN_SECONDS * 2 ** (tries - 1), _AGAIN_SECONDS_MAX)
        with self.database.failures():
            self.database.client.set(self._taken(image), 1, ex=seconds)

    def failed(self, diff_id: Digest) -> int:
        """A node took too long or too much memory for a layer; how often that was so within a day."""
        return self._count(diff_id.hex)

    def done(self, image: str, why: str = "") -> None:
        """Its layers have been read; or, with ``why``, cannot be."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            pipeline.zrem(self._key, image)
            pipeline.delete(self._taken(image), self.database.key("facts-tries", image))
            if why:
                pipeline.set(self._refused(image), why[:_WHY_CHARS_MAX], ex=REFUSED_SECONDS)
            pipeline.execute()

    def refused(self, image: str) -> str:
        """Why its layers cannot be read; empty if that is not known."""
        with self.database.failures():
            return str(self.database.client.get(self._refused(image)) or "")

    def _count(self, of: str) -> int:
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            pipeline.incr(self.database.key("facts-tries", of))
            pipeline.expire(self.database.key("facts-tries", of), _KEPT_SECONDS)
            return int(pipeline.execute()[0])

    @property
    def _key(self) -> str:
        return self.database.key("facts-wanted", "images")

    def _taken(self, image: str) -> str:
        return self.database.key("facts-taken", image)

    def _refused(self, image: str) -> str:
        return self.database.key("facts-refused", image)
