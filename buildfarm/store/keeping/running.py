"""Images that are reported as running, and the sources that they were built from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database

REPORTERS_MAX = 1000


@dataclass(frozen=True)
class Report:
    """What one reporter has running."""

    reporter: str
    images: frozenset[str]
    until: float


@dataclass(frozen=True)
class ImagesInUse:
    """Reports of running images; each ends by itself. Every method raises StoreError likewise."""

    database: Database

    def report(self, reporter: str, images: Collection[str], seconds: float) -> float | None:
        """Replaces what the reporter has running; until when that counts. None: there are too many reporters."""
        index, key = self.database.key("running"), self.database.key("running", reporter)
        now = self.database.now()
        with self.database.failures():
            self.database.client.zremrangebyscore(index, "-inf", now)
            known = self.database.client.zscore(index, reporter) is not None
            if not known and int(self.database.client.zcard(index)) >= REPORTERS_MAX:
                return None
            pipeline = self.database.client.pipeline()
            pipeline.delete(key)
            pipeline.zrem(index, reporter)
            if images:
                pipeline.sadd(key, *sorted(images))
                pipeline.pexpire(key, int(seconds * 1000))
                pipeline.zadd(index, {reporter: now + seconds})
            pipeline.execute()
        return now + seconds

    def all(self) -> list[Report]:
        """The reports that count."""
        with self.database.failures():
            found: Any = self.database.client.zrangebyscore(
                self.database.key("running"), self.database.now(), "+inf", withscores=True
            )
            pipeline = self.database.client.pipeline(transaction=False)
            for reporter, _ in found:
                pipeline.smembers(self.database.key("running", reporter))
            images = pipeline.execute()
        return [Report(name, frozenset(of), until) for (name, until), of in zip(found, images, strict=True)]

    def digests(self) -> set[str]:
        """All of them."""
        return {digest for report in self.all() for digest in report.images}

    def known_sources(self) -> dict[str, str]:
        """The source of each image that ran at the newest collection, as far as it was known."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self.database.key("running-sources"))
        return dict(found)

    def sources(self, images: Collection[str], found: Mapping[str, str], *, remember: bool) -> set[str]:
        """The sources of these images, which are all that run: as found now, or remembered from when a record was."""
        key = self.database.key("running-sources")
        with self.database.failures():
            remembered: Any = self.database.client.hgetall(key)
            known = {image: source for image, source in {**remembered, **found}.items() if image in set(images)}
            if remember:
                pipeline = self.database.client.pipeline()
                pipeline.delete(key)
                if known:
                    pipeline.hset(key, mapping=known)
                pipeline.execute()
        return set(known.values())
