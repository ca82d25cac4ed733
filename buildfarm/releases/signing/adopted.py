"""Images from before signing was on: those that tags pointed to then are signed as they are, once asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database


@dataclass(frozen=True)
class Adopted:
    """An image for each target. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def has(self, target: str, digest: str) -> bool:
        """Whether the target's tag pointed to this image when signing was turned on."""
        with self.database.failures():
            return bool(self.database.client.hget(self._key, target) == digest)

    def take(self, images: Mapping[str, str]) -> None:
        """Take these images over as they are, by target."""
        if images:
            fields: dict[Any, Any] = dict(images)
            with self.database.failures():
                self.database.client.hset(self._key, mapping=fields)

    def has_begun(self) -> bool:
        """Whether the images from before were taken over, and no others are."""
        with self.database.failures():
            return bool(self.database.client.exists(self.database.key("signing:began")))

    def begin(self) -> None:
        """They were."""
        with self.database.failures():
            self.database.client.set(self.database.key("signing:began"), self.database.now())

    def begin_without(self, images: Mapping[str, str]) -> bool:
        """Before tags of a registry are taken over: the first signer is to sign none of them only for its tag.

        Whether that is so now. A Redis that knows images (``images``) from before signing leaves them to that signer.
        """
        if not images and not self.has_begun():
            self.begin()
        return self.has_begun()

    def end(self) -> None:
        """Signing was off: the signer that starts next takes over what is there then."""
        with self.database.failures():
            self.database.client.delete(self.database.key("signing:began"))

    @property
    def _key(self) -> str:
        return self.database.key("signing:adopted")
