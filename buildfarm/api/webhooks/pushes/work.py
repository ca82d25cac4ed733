"""All that is to be done for push hooks beside receiving them."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.access import Rates
from buildfarm.access.webhooks import Delivery
from buildfarm.api.webhooks.delivery import Deliveries
from buildfarm.api.webhooks.pushes.builds import PushedBuilds
from buildfarm.api.webhooks.pushes.previews import Previews
from buildfarm.api.webhooks.pushes.statuses import Reports
from buildfarm.events import Event


@dataclass(frozen=True)
class PushWork:
    """What tenants' webhooks and push hooks share is one queue: a tenant has one delivery of each kind out."""

    deliveries: Deliveries
    builds: PushedBuilds
    reports: Reports
    previews: Previews

    def deliver(self, delivery: Delivery) -> str:
        """One delivery of whichever kind; no tenant has a dot in its name. Raises StoreError."""
        kind, dot, _ = delivery.tenant.partition(".")
        if not dot:
            return self.deliveries.deliver(delivery)
        return self.builds.deliver(delivery) if kind == "push" else self.reports.deliver(delivery)

    def plan(self, event: Event) -> None:
        """A build's change of state becomes deliveries."""
        self.deliveries.plan(event)
        self.reports.follow(event)


def make_push_work(deliveries: Deliveries) -> PushWork:
    """The work of this farm, whose requests reach what its webhooks reach."""
    farm, webhooks = deliveries.farm, deliveries.webhooks
    reports = Reports(farm, webhooks, deliveries.metrics, deliveries.allowed, deliveries.again_seconds)
    builds = PushedBuilds(farm, webhooks, Rates(farm.database), reports)
    return PushWork(deliveries, builds, reports, Previews(farm))
