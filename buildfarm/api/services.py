"""What the routes work with; made once, when the API starts."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from buildfarm.access import Audit, Rates, Tokens
from buildfarm.api.live.feeds import Feeds
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.readiness import Readiness
from buildfarm.api.slots import Slots, Turns
from buildfarm.api.uploads import Uploads
from buildfarm.farm import Farm
from buildfarm.telemetry.traces import Tracer


@dataclass(frozen=True)
class Services:
    """The farm, and what only the API needs beside it."""

    farm: Farm
    tokens: Tokens
    audit: Audit
    rates: Rates
    feeds: Feeds
    metrics: ApiMetrics
    tracer: Tracer
    uploads: Uploads
    streams: Slots
    moves: Slots
    waits: Slots
    wait_threads: anyio.CapacityLimiter
    lists: Turns  # of components: the registry is read for them
    searches: Turns  # for a component, in what Redis has
    readiness: Readiness
