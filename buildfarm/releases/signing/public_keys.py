"""The farm's public keys: every signer reports its own, and everyone who verifies images reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildfarm.store.database import Database

KEPT_SECONDS = 300.0  # a key that no signer reports is dropped so long after the others were reported


@dataclass(frozen=True)
class SigningKeys:
    """The public keys that images are signed with. Raises StoreError.

    Several signers with different keys, as during a rotation, are all heard. While none runs, the last keys stay.
    """

    database: Database

    def all(self) -> tuple[str, ...]:
        """In PEM form; the one reported last is first, and all of them are valid."""
        with self.database.failures():
            found: Any = self.database.client.zrange(self._key, 0, -1, desc=True, withscores=True)
            old: Any = self.database.client.lrange(self._old_key, 0, -1)  # of a signer of an older version
        new = [pem for pem, at in found if at >= found[0][1] - KEPT_SECONDS]
        return tuple(dict.fromkeys([*new, *old]))

    def reported_at(self) -> float:
        """When a signer did so last, in seconds since the epoch; 0: never."""
        with self.database.failures():
            found: Any = self.database.client.get(self.database.key("signing:reported"))
        return float(found or 0)

    def report(self, keys: Sequence[str]) -> None:
        """These are a signer's keys, the newest first."""
        now = self.database.now()
        # Of one signer's keys the first stays the first.
        scores: dict[Any, Any] = {key: now - place / 1000 for place, key in enumerate(keys)}
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=True)
            pipeline.zadd(self._key, scores)
            pipeline.zremrangebyscore(self._key, "-inf", now - KEPT_SECONDS)
            pipeline.delete(self._old_key)  # a process of an older version would trust a key that is no longer used
            pipeline.set(self.database.key("signing:reported"), now)
            pipeline.execute()

    @property
    def _key(self) -> str:
        return self.database.key("signing:public-keys")

    @property
    def _old_key(self) -> str:
        return self.database.key("signing:keys")
