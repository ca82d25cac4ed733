"""Tags that may not point where the record says: a dead node, a lost write or an absent registry left them behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database

_PUT_OFF_SECONDS = 60.0  # longer than a look at one tag may take


@dataclass(frozen=True)
class Unsettled:
    """A target whose tag is to be compared with the record."""

    target: str
    score: str  # reports whether it was marked again meanwhile


@dataclass(frozen=True)
class Pointed:
    """What a target's tag was to point to before: an image, empty if there was none, and when it was published."""

    digest: str
    published: str  # seconds since the epoch; 0: not known


@dataclass(frozen=True)
class Tags:
    """Targets by when to look at their tags. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def mark(self, target: str) -> None:
        """The tag of this target may be elsewhere."""
        now = self.database.now()
        with self.database.failures():
            self.database.client.zadd(self._key, {target: now})

    def point(
        self, target: str, digest: str, seen: str, published: str = "", *, is_new: bool = False
    ) -> Pointed | None:
        """Name another image for a target's tag, or none at all, and return the one before.

        With ``seen``, the tag must be at that image, or already where it is to go; None if it is not, and then nothing
        has changed. With ``is_new``, there must be no other image. To take a move back, ``published`` is that of the
        image before; ``same`` leaves it alone.
        """
        key = self.database.key
        keys = [key("tags"), self._key, key("signing"), key("tagged", target)]
        answer, before, at = self.database.run("roll_back", keys, target, digest, "none" if is_new else seen, published)
        return Pointed(str(before), str(at)) if answer == "moved" else None

    def due(self, limit: int) -> Iterator[Unsettled]:
        """Targets to look at now; each is given to one caller, and again a minute later unless it is settled."""
        found: Any = self.database.run("unsettled", [self._key], _PUT_OFF_SECONDS, limit)
        return (Unsettled(*pair) for pair in zip(found[::2], found[1::2], strict=True))

    def settled(self, unsettled: Unsettled) -> None:
        """The tag is correct now."""
        self.database.run("settle", [self._key], unsettled.target, unsettled.score)

    @property
    def _key(self) -> str:
        return self.database.key("unsettled")


def tag_targets(database: Database) -> dict[str, str]:
    """The image that each target's tag is to point to. Raises StoreError."""
    with database.failures():
        found: Any = database.client.hgetall(database.key("tags"))
    return dict(found)
