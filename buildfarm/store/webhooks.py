"""Webhooks: where each tenant wants to hear of its ended builds, and which deliveries are due.

Redis has to know the secrets: they sign what is sent. Whoever reads Redis could sign too.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from buildfarm.errors import NotFoundError
from buildfarm.store.database import Database

_SECRET_BYTES = 32
_FORGOTTEN_SECONDS = 2 * 86_400
_PUT_OFF_SECONDS = 60.0  # longer than a try may take
_BATCH = 50


@dataclass(frozen=True)
class Webhook:
    """A tenant's address, and the secrets that sign: the newest, and the one before it while they are changed."""

    url: str
    secrets: tuple[str, ...]  # whsec_<base64>, as Standard Webhooks writes them


@dataclass(frozen=True)
class Webhooks:
    """Every method raises StoreError where Redis cannot be reached."""

    database: Database

    def put(self, tenant: str, url: str, *, rotate: bool) -> Webhook:
        """Sets the address; a secret is made at first and with ``rotate``, and the one before it goes on to sign."""
        try:
            old = self.get(tenant).secrets
        except NotFoundError:
            old = ()
        kept = (f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}", *old[:1])
        webhook = Webhook(url, kept if rotate or not old else old)
        with self.database.failures():
            fields = {"url": url, "secrets": " ".join(webhook.secrets)}
            self.database.client.hset(self.database.key("webhook", tenant), mapping=fields)  # type: ignore[arg-type]
        return webhook

    def get(self, tenant: str) -> Webhook:
        """Raises NotFoundError where the tenant has none."""
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("webhook", tenant))  # type: ignore[assignment]
        if not fields:
            raise NotFoundError(f"{tenant} has no webhook.", advice="Set one: PUT /v1/webhook.")
        return Webhook(fields["url"], tuple(fields["secrets"].split()))

    def delete(self, tenant: str) -> None:
        """Nothing is sent to it any more."""
        with self.database.failures():
            self.database.client.delete(self.database.key("webhook", tenant))

    def plan(self, build_id: str, seconds: float) -> None:
        """The next try of a delivery is due then."""
        with self.database.failures():
            self.database.client.zadd(self._due, {build_id: self.database.now() + seconds})

    def due(self) -> list[str]:
        """Builds whose delivery is to be tried now; each is given out once a minute until it is `done`."""
        return list(self.database.run("webhook_due", [self._due], _PUT_OFF_SECONDS, _BATCH))

    def begin(self, build_id: str) -> int:
        """Which try this is, from 1; 0 where the delivery is done already."""
        key = self.database.key("webhooks", "tries", build_id)
        with self.database.failures():
            if self.database.client.zscore(self._due, build_id) is None:
                return 0
            pipeline = self.database.client.pipeline()
            pipeline.incr(key)
            pipeline.expire(key, _FORGOTTEN_SECONDS)
            return int(pipeline.execute()[0])

    def done(self, build_id: str) -> None:
        """No more tries."""
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.zrem(self._due, build_id)
            pipeline.delete(self.database.key("webhooks", "tries", build_id))
            pipeline.execute()

    @property
    def _due(self) -> str:
        return self.database.key("webhooks", "due")
