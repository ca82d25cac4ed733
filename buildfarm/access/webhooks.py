"""Webhooks: the address that each tenant's ended builds are sent to, and which deliveries are due.

Redis stores the secrets that sign deliveries, so a process that reads Redis could sign too.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import Any

from buildfarm.errors import NotFoundError
from buildfarm.store.database import Database

PLANNED_MAX = 10_000  # deliveries of a tenant that wait for a try

_SECRET_BYTES = 32
_FORGOTTEN_SECONDS = 2 * 86_400
_LOST_SECONDS = 60.0  # longer than a try can take
_MESSAGES_MAX = 50


@dataclass(frozen=True)
class Webhook:
    """A tenant's address, and the secrets that sign: the newest, and the one before it while they are changed."""

    url: str
    secrets: tuple[str, ...]  # whsec_<base64>, as Standard Webhooks writes them


@dataclass(frozen=True)
class Delivery:
    """An ended build, or an app's new image, that is reported to its tenant."""

    tenant: str
    build_id: str  # or image.<app>.<position of the change>

    @property
    def is_of_an_image(self) -> bool:
        """Whether it reports that an app is to run another image."""
        return self.build_id.startswith("image.")

    def __str__(self) -> str:
        return f"{self.tenant}/{self.build_id}"

    @classmethod
    def parse(cls, text: str) -> Delivery:
        """The delivery that `str` wrote; no tenant has a slash in its name."""
        tenant, _, build_id = text.partition("/")
        return cls(tenant, build_id)


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
        """Raises NotFoundError if the tenant has none."""
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("webhook", tenant))  # type: ignore[assignment]
        if not fields:
            raise NotFoundError(f"{tenant} has no webhook.", advice="Set one: PUT /v1/webhook.")
        return Webhook(fields["url"], tuple(fields["secrets"].split()))

    def delete(self, tenant: str) -> None:
        """Nothing is sent to it from now on."""
        with self.database.failures():
            self.database.client.delete(self.database.key("webhook", tenant))

    def plan(self, delivery: Delivery, seconds: float) -> int:
        """Make the next try of a delivery due in so many seconds.

        Returns how many of the tenant's deliveries were given up, those that were due first, because it has too many.
        """
        return int(self._run("webhook_plan", delivery.tenant, delivery.build_id, seconds, PLANNED_MAX))

    def due(self) -> list[Delivery]:
        """Deliveries to try now: at most one of each tenant, and none while enough messages wait.

        The next one of a tenant comes after `again` or `done`, or after a minute if its sender or message was lost.
        """
        return [Delivery.parse(text) for text in self._run("webhook_due", _LOST_SECONDS, _MESSAGES_MAX)]

    def begin(self, delivery: Delivery) -> int:
        """Take a delivery that was handed out. Returns which try this is, from 1; 0 if another sender has it."""
        return int(self._run("webhook_begin", delivery.tenant, delivery.build_id, _LOST_SECONDS, _FORGOTTEN_SECONDS))

    def again(self, delivery: Delivery, seconds: float) -> None:
        """End a try after which another one follows in so many seconds."""
        self._run("webhook_end", delivery.tenant, delivery.build_id, seconds)

    def done(self, delivery: Delivery) -> None:
        """End the last try of a delivery."""
        self._run("webhook_end", delivery.tenant, delivery.build_id, "")

    def end_turn(self, delivery: Delivery, seconds: float | None, waiting: str) -> None:
        """End a turn, after which another one follows in so many seconds, or at once if this list has anything.

        In one step: what comes to the list while its turn ends is seen here, or plans a turn after it.
        """
        self._run("webhook_end", delivery.tenant, delivery.build_id, "" if seconds is None else seconds, waiting)

    def _run(self, script: str, *args: str | float) -> Any:
        return self.database.run(script, [self.database.key()], *args)
