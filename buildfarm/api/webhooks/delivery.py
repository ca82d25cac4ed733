"""Webhooks on their way: an ended build becomes a delivery, a delivery a Celery task, a failed task a later delivery.

A rollout plans the delivery of an app's new image itself, in the step that moves the app.

The due times are in Redis and not in Celery: its own delays stand in one worker's memory, and on Redis a message that
waits for longer than the visibility timeout is handed out again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.api.bodies import BuildView
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.webhooks.outbound import Networks, PrivateAddressError, parse_networks, post, sign
from buildfarm.errors import BuildfarmError, NotFoundError
from buildfarm.events import Event
from buildfarm.farm import Farm
from buildfarm.model import State
from buildfarm.queue.app import make_celery
from buildfarm.releases.rollouts.feed import ImageChanges
from buildfarm.settings import Settings
from buildfarm.telemetry import logger

TASK = "buildfarm.webhook"
QUEUE = "webhooks"
GROUP = "webhooks"
# After each try; eight of them over 21 hours.
AGAIN_SECONDS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 50_000.0)


@dataclass(frozen=True)
class Deliveries:
    """Reports ended builds to tenants, at least once each; any number of processes can do so side by side."""

    farm: Farm
    webhooks: Webhooks
    metrics: ApiMetrics
    allowed: Networks
    again_seconds: tuple[float, ...] = AGAIN_SECONDS

    def plan(self, event: Event) -> None:
        """A build's change of state; those that end a build of a tenant with a webhook become deliveries."""
        if event.state == "refused" or not State(event.state).final or not event.tenant:
            return
        try:
            self.webhooks.get(event.tenant)
        except NotFoundError:
            return
        if dropped := self.webhooks.plan(Delivery(event.tenant, event.build), 0):
            self.metrics.webhooks.labels("given_up").inc(dropped)
            logger(tenant=event.tenant).warning("webhooks_given_up", deliveries=dropped, reason="too many wait")

    def deliver(self, delivery: Delivery) -> str:
        """One try: delivered, retried, given_up, refused; empty if there is nothing to do. Raises StoreError."""
        tries = self.webhooks.begin(delivery)
        if not tries:
            return ""
        try:
            webhook = self.webhooks.get(delivery.tenant)
            identity, values = self._image(delivery) if delivery.is_of_an_image else self._build(delivery)
        except NotFoundError:
            self.webhooks.done(delivery)
            return ""
        result, reason = self._try(webhook.url, webhook.secrets, identity, json.dumps(values).encode(), tries)
        self.metrics.webhooks.labels(result).inc()
        log = logger(build=delivery.build_id, tenant=delivery.tenant, tries=tries)
        if result == "delivered":
            log.info("webhook_delivered")
        else:
            log.warning("webhook_failed", result=result, reason=reason, url=webhook.url)
        if result == "retried":
            self.webhooks.again(delivery, self.again_seconds[tries - 1])
        else:
            self.webhooks.done(delivery)
        return result

    def _build(self, delivery: Delivery) -> tuple[str, Mapping[str, object]]:
        build = self.farm.get(delivery.build_id)
        shown = BuildView.of(build, self.farm.image(build) if build.result else None)
        ended = build.finished_at or time.time()
        return f"msg_{build.id}", _message(f"build.{build.state}", ended, shown.model_dump(mode="json"))

    def _image(self, delivery: Delivery) -> tuple[str, Mapping[str, object]]:
        """The app is to run another image: the one of now, should it have changed again meanwhile."""
        _, app, position = delivery.build_id.split(".")
        change = ImageChanges(self.farm.database).get(position)
        image = self.farm.records.tag_target(f"apps/{delivery.tenant}/{app}")
        data = change.model_copy(update={"image": image}).model_dump(mode="json")
        changed = int(position.partition("-")[0]) / 1000
        return f"msg_image_{position}", _message("image.changed", changed, {"tenant": delivery.tenant, **data})

    def _try(self, url: str, keys: tuple[str, ...], identity: str, body: bytes, tries: int) -> tuple[str, str]:
        timestamp = int(time.time())
        headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", "buildfarm"),
            ("Webhook-Id", identity),
            ("Webhook-Timestamp", str(timestamp)),
            ("Webhook-Signature", " ".join(sign(key, identity, timestamp, body) for key in keys)),
        ]
        try:
            status = post(url, headers, body, self.allowed)
        except PrivateAddressError as error:
            return "refused", error.message
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
        else:
            if 200 <= status < 300:
                return "delivered", ""
            reason = f"status {status}"
        return ("retried" if tries <= len(self.again_seconds) else "given_up"), reason


def _message(kind: str, at: float, data: Mapping[str, object]) -> Mapping[str, object]:
    return {"type": kind, "timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "data": data}


def make_webhook_celery(settings: Settings) -> Celery:
    """The farm's Celery application, with the webhooks' own queue instead of the builds'."""
    app = make_celery(settings)
    app.conf.task_queues = [Queue(QUEUE)]
    app.conf.task_default_queue = QUEUE
    app.conf.broker_transport = "redis"  # the builds' transport knows builds' messages only
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "queue_order_strategy": "round_robin",
        "visibility_timeout": 600,
    }
    return app


def register(app: Celery, try_one: Callable[[Delivery], str], send_next: Callable[[], None]) -> None:
    """Makes a try of a delivery the task that messages name; ``send_next`` sends what is due after it."""

    @app.task(name=TASK, ignore_result=True)
    def deliver(text: str) -> None:
        delivery = Delivery.parse(text)
        try:
            if try_one(delivery):
                send_next()
        except (BuildfarmError, OperationalError) as error:
            # What was not tried comes again within a minute, and what was not sent within a second.
            logger(build=delivery.build_id).warning("webhook_not_tried", reason=str(error))


def make_deliveries(farm: Farm, metrics: ApiMetrics) -> Deliveries:
    """Deliveries of this farm. Raises RequestError if the allowed networks cannot be read."""
    return Deliveries(farm, Webhooks(farm.database), metrics, parse_networks(farm.settings.webhook_networks))
