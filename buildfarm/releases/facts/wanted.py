"""Images whose layers a node is to read, the most urgent first. In Redis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from buildfarm.store.database import Database

WANTED_MAX = 20_000  # images for which nothing waits; twice as many in all
HELD_SECONDS = 1200  # longer than one layer can take: a node that holds an image for longer is gone
_LOOK_AT = 200  # images that others may read
_KEPT_SECONDS = 86_400  # of the whole queue, since the newest request: then no node takes images
_AGAIN_SECONDS = 60  # after a first failure
_AGAIN_SECONDS_MAX = 600


class Urgency(IntEnum):
    """What waits for an image's layers."""

    BASE = 0  # every app that is to move to or from this base
    APP = 1  # one app that is to move
    LATER = 2  # nothing yet


@dataclass(frozen=True)
class WantedImages:
    """Images are repository@digest. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def add(self, image: str, urgency: Urgency) -> None:
        """Asks the nodes to read an image's layers; the most urgent request counts."""
        limit = WANTED_MAX if urgency is Urgency.LATER else 2 * WANTED_MAX
        with self.database.failures():
            if self.database.client.zcard(self._key) < limit:
                pipeline: Any = self.database.client.pipeline(transaction=False)
                pipeline.zadd(self._key, {image: int(urgency)}, lt=True)
                pipeline.expire(self._key, _KEPT_SECONDS)
                pipeline.execute()

    def take(self, least: Urgency = Urgency.LATER) -> str | None:
        """An image that this process is to read; no other takes it while it is held, and for 20 minutes at most."""
        with self.database.failures():
            client: Any = self.database.client
            images = client.zrangebyscore(self._key, "-inf", int(least), start=0, num=_LOOK_AT)
            taken = client.mget([self._taken(image) for image in images]) if images else []
            for image, is_taken in zip(images, taken, strict=True):
                if not is_taken and client.set(self._taken(image), 1, nx=True, ex=HELD_SECONDS):
                    return str(image)
        return None

    def hold(self, image: str) -> None:
        """This process still reads it."""
        with self.database.failures():
            self.database.client.set(self._taken(image), 1, ex=HELD_SECONDS)

    def put_back(self, image: str) -> None:
        """Another process, or this one, reads the rest of it."""
        with self.database.failures():
            self.database.client.delete(self._taken(image))

    def put_off(self, image: str) -> int:
        """It could not be read now, and is tried again after a minute, later after ten; how often that was so."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            pipeline.incr(self._tries(image))
            pipeline.expire(self._tries(image), _KEPT_SECONDS)
            tries = int(pipeline.execute()[0])
            seconds = min(_AGAIN_SECONDS * 2 ** (tries - 1), _AGAIN_SECONDS_MAX)
            self.database.client.set(self._taken(image), 1, ex=seconds)
        return tries

    def done(self, image: str) -> None:
        """Its layers have been read, or never will be."""
        with self.database.failures():
            pipeline: Any = self.database.client.pipeline()
            pipeline.zrem(self._key, image)
            pipeline.delete(self._taken(image), self._tries(image))
            pipeline.execute()

    @property
    def _key(self) -> str:
        return self.database.key("facts-wanted", "images")

    def _taken(self, image: str) -> str:
        return self.database.key("facts-taken", image)

    def _tries(self, image: str) -> str:
        return self.database.key("facts-tries", image)
