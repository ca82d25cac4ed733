"""Changes of apps' images as orchestrators read them, from any position."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import NotFoundError
from buildfarm.releases.rollouts.views import ImageChange
from buildfarm.store.database import Database

_PAGE = 1000


@dataclass(frozen=True)
class ImageChanges:
    """The newest 100,000, the oldest first. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def read(self, after: str, *, wait_seconds: float = 0, tenant: str | None = None) -> tuple[list[ImageChange], str]:
        """Those after a position, of one tenant or of all, and where to go on; waits for the next one if there is none.

        Changes of other tenants end no wait. They are behind the position that is returned.
        """
        until = time.monotonic() + wait_seconds
        after = self.last() if after == "$" else after
        while page := self._page(after, max(0.0, until - time.monotonic())):
            after = page[-1].position
            found = [one for one in page if tenant in (None, one.app.partition("/")[0])]
            if found or (len(page) < _PAGE and time.monotonic() >= until):
                return found, after
        return [], after

    def get(self, position: str) -> ImageChange:
        """The change at a position. Raises NotFoundError if it is too old."""
        with self.database.failures():
            found: Any = self.database.client.xrange(self.database.key("image-changes"), position, position)
        if not found:
            raise NotFoundError(f"There is no change of an image at {position[:40]}.")
        return ImageChange(position=position, **found[0][1])

    def last(self) -> str:
        """The position of the newest one."""
        with self.database.failures():
            newest: Any = self.database.client.xrevrange(self.database.key("image-changes"), count=1)
        return str(newest[0][0]) if newest else "0"

    def _page(self, after: str, wait_seconds: float) -> list[ImageChange]:
        key = self.database.key("image-changes")
        with self.database.failures():
            answer: Any = self.database.client.xread({key: after}, count=_PAGE, block=int(wait_seconds * 1000) or None)
        # redis-py answers with a list or a mapping, by version of the protocol
        groups = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer or ()]
        found = [entry for entries in groups for entry in entries]
        if found and isinstance(found[0][0], (list, tuple)):
            found = [entry for entries in found for entry in entries]
        return [ImageChange(position=position, **fields) for position, fields in found]
