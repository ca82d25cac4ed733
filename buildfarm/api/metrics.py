"""Metrics of the API itself: its requests, its live streams and its webhooks."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WEBHOOK_RESULTS = ("delivered", "retried", "given_up", "refused")
_PUSH_RESULTS = ("new", "seen", "ignored", "refused")


class ApiMetrics:
    """The API's metrics for Prometheus. A route is its pattern, never the requested path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "buildfarm_api_requests",
            "Requests that were answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "buildfarm_api_request_seconds",
            "Time of a request; live streams and pushes are not counted",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.followers = Gauge("buildfarm_api_followers", "Live streams that are open now", registry=self.registry)
        self.uploads = Gauge("buildfarm_api_uploads", "Uploads that are open now", registry=self.registry)
        self.webhooks = Counter(
            "buildfarm_webhooks", "Attempts to deliver a webhook", ["result"], registry=self.registry
        )
        for result in _WEBHOOK_RESULTS:
            self.webhooks.labels(result)
        self.pushes = Counter("buildfarm_pushes", "Deliveries to push hooks", ["result"], registry=self.registry)
        for result in _PUSH_RESULTS:
            self.pushes.labels(result)

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered with this status; 0 if the client left before."""
        self.requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        if not route.endswith(("/live", "/git-receive-pack")):
            self.request_seconds.labels(route).observe(seconds)
