"""Metrics and traces of what the signer ends. A build that was handed over ends here, and no node counts it."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from buildfarm.errors import UnsignableError
from buildfarm.model import Build, BuildResult, State
from buildfarm.telemetry.metrics import SECONDS
from buildfarm.telemetry.traces import Tracer

_GIVEN_BACK = "given_back"
_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Report:
    """Counts under the names of a node's metrics; docs/metrics.md explains them."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.registry = CollectorRegistry()
        self._tracer = tracer or Tracer()
        self._builds = Counter(
            "buildfarm_builds", "Attempts that the signer ended", ["outcome", "fault", "code"], registry=self.registry
        )
        self._build_seconds = Histogram(
            "buildfarm_build_seconds", "From submit to end", ["outcome"], registry=self.registry, buckets=SECONDS
        )
        self._farm_seconds = Histogram(
            "buildfarm_farm_seconds", "A successful build's farm time: prepare, export, publish",
            registry=self.registry, buckets=SECONDS,
        )  # fmt: skip
        self._seconds = Histogram(
            "buildfarm_signer_seconds", "Time of a request to the signer", ["outcome"],
            registry=self.registry, buckets=_REQUEST_SECONDS,
        )  # fmt: skip
        self._builds.labels(State.SUCCEEDED, "none", "none")
        for outcome in (State.FAILED, _GIVEN_BACK):
            self._builds.labels(outcome, "farm", UnsignableError.code)
        for state in (State.SUCCEEDED, State.FAILED):
            self._build_seconds.labels(state)
        for outcome in ("signed", "refused", "lost"):
            self._seconds.labels(outcome)

    def request_ended(self, outcome: str, seconds: float) -> None:
        """A request was signed, refused, or lost to another signer."""
        self._seconds.labels(outcome).observe(seconds)

    def build_ended(self, build: Build, state: str, *, code: str = "", result: BuildResult | None = None) -> None:
        """A build that was handed over is in this state now; a queued one gets another attempt."""
        outcome = _GIVEN_BACK if state == State.QUEUED else state
        self._builds.labels(outcome, "farm" if code else "none", code or "none").inc()
        if result is not None:
            self._farm_seconds.observe(result.farm_seconds, {"build": build.id})
        if outcome == _GIVEN_BACK:
            return
        now, request = time.time(), build.request
        self._build_seconds.labels(outcome).observe(max(now - build.submitted_at, 0), {"build": build.id})
        attributes = {
            "buildfarm.tenant": request.tenant,
            "buildfarm.app": request.app,
            "buildfarm.outcome": outcome,
            **({"error": code} if code else {}),
        }
        self._tracer.add_root(build.id, "build", build.submitted_at, now, attributes)
