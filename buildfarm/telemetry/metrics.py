"""Every metric of a build node, declared once; docs/metrics.md explains them to people.

Labels come from closed sets, and every series exists from the start: one that appears with its first event hides that
event from rate(). A build is never a label; it is the exemplar of what was measured on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from buildfarm.errors import BUILD_ERRORS, AppError, DeadlineError, OutOfMemoryError, TooLargeError
from buildfarm.model import BuildResult, Phase, State

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 900)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")
_ANSWERS = ("ok", "refused", "failed")
# Outcomes of an attempt beside a build's final states.
HANDED_OVER = "handed_over"  # to the signer, which ends the build
_UNFINISHED = ("given_back", "lost", HANDED_OVER)
# The builder's own; all others share one label.
_BUILDPACKS = ("apt", "inline", "java", "nodejs", "perl", "php", "procfile", "python", "ruby", "static")
_REPORTED_SECONDS_MAX = 86_400
_LIMITS = {kind.code: kind.code.rpartition(".")[2] for kind in (DeadlineError, OutOfMemoryError, TooLargeError)}


class Metrics:
    """A node's metrics for Prometheus. ``tenants`` adds a counter by tenant; the operator must bound their number.

    ``sizes`` are those of the builds that the node takes.
    """

    def __init__(self, *, tenants: bool = False, sizes: Sequence[str] = ("standard",)) -> None:
        self.registry = CollectorRegistry()
        self._tenants, self._sizes = tenants, tuple(sizes)
        self._of_attempts()
        self._of_images()
        self._of_the_node()

    def _of_attempts(self) -> None:
        self.builds = self._counter(
            "buildfarm_builds", "Attempts that ended on this node", ["outcome", "fault", "code"]
        )
        self.attempts = self._counter(
            "buildfarm_attempts", "Attempts that this node began", ["kind"]
        )  # kind: first, again
        self.phase_seconds = self._histogram("buildfarm_phase_seconds", "Time of a build's phase", ["phase"])
        self.build_seconds = self._histogram("buildfarm_build_seconds", "From submit to end", ["outcome"])
        self.farm_seconds = self._histogram(
            "buildfarm_farm_seconds", "A successful build's farm time: prepare, export, publish"
        )
        self.queue_wait_seconds = self._histogram(
            "buildfarm_queue_wait_seconds", "From submit to a build's first attempt", ["size"]
        )
        self.limits_hit = self._counter("buildfarm_limits_hit", "Builds that ended at a limit", ["limit"])
        self.leases_expired = self._counter(
            "buildfarm_leases_expired", "Builds taken back by this node because their holder went silent"
        )
        self.messages_resent = self._counter(
            "buildfarm_messages_resent", "Messages this node sent again because they were lost"
        )
        self.placements = self._counter(
            "buildfarm_placements", "Attempts begun on this node, by whether it built the app last", ["last"]
        )  # last: yes, no (another node did), none (no node did)
        if self._tenants:
            self.tenant_builds = self._counter(
                "buildfarm_tenant_builds", "Attempts that ended on this node", ["tenant", "outcome"]
            )
        for outcome in (*(state for state in State if state.final), *_UNFINISHED):
            if outcome not in (State.FAILED, "given_back"):
                self.builds.labels(outcome, "none", "none")
        for code, kind in BUILD_ERRORS.items():
            if issubclass(kind, AppError):
                self.builds.labels(State.FAILED, "app", code)
            else:
                self.builds.labels(State.FAILED, "farm", code)
                self.builds.labels("given_back", "farm", code)
        for phase in Phase:
            self.phase_seconds.labels(phase)
        for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SUPERSEDED):
            self.build_seconds.labels(state)
        for size in self._sizes:
            self.queue_wait_seconds.labels(size)
        for place in ("yes", "no", "none"):
            self.placements.labels(place)
        for kind_of_attempt in ("first", "again"):
            self.attempts.labels(kind_of_attempt)
        for limit in _LIMITS.values():
            self.limits_hit.labels(limit)

    def _of_images(self) -> None:
        self.layers = self._counter(
            "buildfarm_layers", "Layers of the apps' own in finished images", ["moved"]
        )  # moved: uploaded, reused
        self.layer_bytes = self._counter(
            "buildfarm_layer_bytes", "Compressed bytes of the apps' own layers in finished images", ["moved"]
        )
        self.cache_restores = self._counter(
            "buildfarm_cache_restores", "Build caches that were looked for", ["result"]
        )  # result: hit, snapshot, miss
        self.registry_request_seconds = self._histogram(
            "buildfarm_registry_request_seconds",
            "Requests to the registry, until the head of the answer; an upload's includes its body",
            ["method", "answer"],
            _REQUEST_SECONDS,
        )
        self.buildpack_report_seconds = self._histogram(
            "buildfarm_buildpack_report_seconds", "Durations that buildpacks' bin/report prints", ["buildpack"]
        )
        for buildpack in (*_BUILDPACKS, "other"):
            self.buildpack_report_seconds.labels(buildpack)
        for moved in ("uploaded", "reused"):
            self.layers.labels(moved)
            self.layer_bytes.labels(moved)
        for result in ("hit", "snapshot", "miss"):
            self.cache_restores.labels(result)
        for method in _METHODS:
            for answer in _ANSWERS:
                self.registry_request_seconds.labels(method, answer)

    def _of_the_node(self) -> None:
        self.running = self._gauge("buildfarm_builds_running", "Builds that run on this node now")
        self.slots = self._gauge("buildfarm_slots", "Builds that may run at once on this node")
        self.accepting = self._gauge("buildfarm_node_accepting", "1 if this node takes builds, else 0")
        self.network_rules_confirmed = self._gauge(
            "buildfarm_network_rules_confirmed", "1 if the sandboxes' network rules were in force within 30 seconds"
        )
        self.builder_ready = self._gauge(
            "buildfarm_builder_ready", "1 if the node has the builders that it should have"
        )
        self.builders = self._gauge("buildfarm_builders", "Builders of channels and rollouts that the node has")
        self.builders_missing = self._gauge("buildfarm_builders_missing", "Those that it should have and has not yet")
        self.prewarm_seconds = self._gauge("buildfarm_prewarm_seconds", "How long the newest pre-warm took")
        self.disk_free_bytes = self._gauge("buildfarm_disk_free_bytes", "Free disk where workspaces are")
        self.logs_waiting = self._gauge("buildfarm_log_spools", "Ended builds' logs that wait on this node")
        self.logs_waiting_bytes = self._gauge("buildfarm_log_spool_bytes", "Their bytes")
        self.snapshot_bytes = self._gauge("buildfarm_snapshot_bytes", "Unpacked build caches on this node, together")
        self.layer_reading_stopped = self._gauge(
            "buildfarm_layer_reading_stopped", "1 if Redis has too little memory for what nodes find in layers, else 0"
        )
        self.disk_size_bytes = self._gauge("buildfarm_disk_size_bytes", "Size of the disk where workspaces are")
        self.upkeep_failures = self._counter("buildfarm_upkeep_failures", "Upkeep jobs that failed once", ["job"])

    def _counter(self, name: str, told: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, told, labels, registry=self.registry)

    def _gauge(self, name: str, told: str) -> Gauge:
        return Gauge(name, told, registry=self.registry)

    def _histogram(
        self, name: str, told: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        return Histogram(name, told, labels, registry=self.registry, buckets=buckets)

    def attempt_begun(self, number: int, *, is_last_node: bool | None = None) -> None:
        """An attempt of this number was claimed; by the node that built the app last, if any did."""
        self.attempts.labels("first" if number == 1 else "again").inc()
        self.placements.labels({True: "yes", False: "no", None: "none"}[is_last_node]).inc()

    def attempt_ended(self, outcome: str, code: str, tenant: str) -> None:
        """``code`` is the error's if there was one, ``tenant`` is empty if the record was never read."""
        kind = BUILD_ERRORS.get(code)
        if outcome not in (State.FAILED, "given_back") or kind is None:
            self.builds.labels(outcome, "none", "none").inc()
        else:
            self.builds.labels(outcome, "app" if issubclass(kind, AppError) else "farm", code).inc()
            if code in _LIMITS:
                self.limits_hit.labels(_LIMITS[code]).inc()
        if self._tenants and tenant:
            self.tenant_builds.labels(tenant, outcome).inc()

    def phase_ended(self, phase: Phase, seconds: float, build_id: str) -> None:
        """A phase ended, well or not."""
        self.phase_seconds.labels(phase).observe(seconds, {"build": build_id})

    def build_ended(self, outcome: str, seconds: float, build_id: str) -> None:
        """A build is in a final state, ``seconds`` after it was submitted."""
        self.build_seconds.labels(outcome).observe(max(seconds, 0), {"build": build_id})

    def waited(self, seconds: float, build_id: str, size: str = "standard") -> None:
        """A first attempt at a build of this size began, ``seconds`` after it was submitted."""
        self.queue_wait_seconds.labels(size if size in self._sizes else "other").observe(
            max(seconds, 0), {"build": build_id}
        )

    def image_made(self, result: BuildResult, build_id: str, *, is_ended: bool = True) -> None:
        """A build succeeded with this result, or was handed over with it: then the signer knows its farm time."""
        if is_ended:
            self.farm_seconds.observe(result.farm_seconds, {"build": build_id})
        for layer in result.layers:
            if layer.origin != "builder":
                moved = "reused" if layer.reused else "uploaded"
                self.layers.labels(moved).inc()
                self.layer_bytes.labels(moved).inc(layer.size_bytes)
        for used in result.buildpacks:
            self.reported(used.name, used.report)

    def reported(self, buildpack: str, report: Mapping[str, object]) -> None:
        """A bin/report's values: what of them is a duration in seconds is counted (Heroku: keys end in _duration)."""
        label = buildpack if buildpack in _BUILDPACKS else "other"
        for key, value in report.items():
            if key.endswith("_duration") and isinstance(value, float) and 0 <= value <= _REPORTED_SECONDS_MAX:
                self.buildpack_report_seconds.labels(label).observe(value)

    def disk(self, directory: Path) -> None:
        """Looks at the disk that holds this folder."""
        usage = shutil.disk_usage(directory)
        self.disk_free_bytes.set(usage.free)
        self.disk_size_bytes.set(usage.total)

    def registry_answered(self, method: str, answer: str, seconds: float) -> None:
        """A request to the registry ended: ``ok``, ``refused`` (by its status) or ``failed`` (no answer)."""
        self.registry_request_seconds.labels(method, answer).observe(seconds)
