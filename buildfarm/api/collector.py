"""How the whole farm stands, read when Prometheus asks: right also when all nodes are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.gc.choose import Reason
from buildfarm.node import NodeState
from buildfarm.queue.names import STANDARD, farm_kinds, queue_names
from buildfarm.queue.sizes import sizes_of
from buildfarm.queue.view import QueueRow
from buildfarm.releases.rollouts.rules.gate import silent_apps
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.store.archive.tally import Tally
from buildfarm.store.keeping.collections import Collections

_TENANTS_MAX = 200
_WAITING = ("held", "queued", "running")


class Standing(Collector):
    """The queue by class, nodes, slots, and whether Redis and the registry answer. ``tenants`` adds rows by tenant."""

    def __init__(self, farm: Farm, *, tenants: bool) -> None:
        self._farm = farm
        self._tenants = tenants

    def describe(self) -> list[Metric]:
        """Nothing is asked when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All gauges; those that need Redis are left out if it is unreachable, and `buildfarm_redis_up` is 0."""
        yield _gauge("buildfarm_registry_up", "1 if the registry answers", self._registry_up())
        try:
            found = [*self._queue(), *self._nodes(), *self._redis(), *collection(self._farm), *archive(self._farm)]
            found += [*rollouts(self._farm), *signing(self._farm)]
        except BuildfarmError:
            yield _gauge("buildfarm_redis_up", "1 if Redis answers", 0)
            return
        yield _gauge("buildfarm_redis_up", "1 if Redis answers", 1)
        yield from found

    def _queue(self) -> Iterator[Metric]:
        view = self._farm.queue(_TENANTS_MAX if self._tenants else 0)
        builds = GaugeMetricFamily("buildfarm_queue_builds", "Builds by state", labels=["build_class", "state"])
        oldest = GaugeMetricFamily(
            "buildfarm_queue_oldest_seconds",
            "How long the oldest queued build has waited; 0: none is queued",
            labels=["build_class"],
        )
        for name in self._farm.settings.classes:
            rows = [row for row in view.classes if row.build_class == name]
            for state in _WAITING:
                builds.add_metric([name, state], sum(getattr(row, state) for row in rows))
            oldest.add_metric([name], max(row.oldest_seconds or 0 for row in rows))
        yield builds
        yield oldest
        yield from _by_size(view.classes)
        if self._tenants:
            yield _by_tenant(view.tenants)

    def _nodes(self) -> Iterator[Metric]:
        nodes = self._farm.nodes()
        states = GaugeMetricFamily("buildfarm_nodes", "Build nodes by state", labels=["state"])
        for state in NodeState:
            states.add_metric([state], sum(node.state is state for node in nodes))
        yield states
        living = [node for node in nodes if node.state is not NodeState.GONE]
        sizes = GaugeMetricFamily("buildfarm_size_slots", "Builds of each size that nodes can run", labels=["size"])
        for size in sizes_of(self._farm.settings):
            slots = sum(node.sizes.get(size, 0) if node.sizes else node.slots * (size == STANDARD) for node in living)
            sizes.add_metric([size], slots)
        yield sizes
        yield _gauge("buildfarm_farm_slots", "Slots of all living nodes", sum(node.slots for node in living))
        yield _gauge("buildfarm_farm_slots_busy", "Slots in use on live nodes", sum(node.busy for node in living))
        # A name that dashboards for Celery know.
        up = GaugeMetricFamily("celery_worker_up", "1 for each living node", labels=["hostname"])
        for node in living:
            up.add_metric([f"buildfarm@{node.id}"], 1)
        yield up

    def _redis(self) -> Iterator[Metric]:
        database, settings = self._farm.database, self._farm.settings
        with database.failures():
            info: Any = database.client.info("memory")
            pipeline = database.client.pipeline(transaction=False)
            names = queue_names(farm_kinds(settings), settings.shards)
            for name in names:
                pipeline.llen(database.key(name))
            lengths = pipeline.execute()
        yield _gauge("buildfarm_redis_used_bytes", "Memory that Redis uses", info["used_memory"])
        yield _gauge("buildfarm_redis_max_bytes", "Memory limit of Redis; 0: no limit", info["maxmemory"])
        kept, dropped = self._farm.log_streams.kept_bytes()
        yield _gauge("buildfarm_logs_bytes", "Logs that are kept in Redis", kept)
        yield CounterMetricFamily(
            "buildfarm_logs_dropped_bytes", "Bytes of logs dropped to stay within the limits", dropped
        )
        messages = GaugeMetricFamily("celery_queue_length", "Messages in a queue", labels=["queue_name"])
        for name, length in zip(names, lengths, strict=True):
            messages.add_metric([name], length)
        yield messages

    def _registry_up(self) -> int:
        try:
            self._farm.quick_registry.ping()
        except BuildfarmError:
            return 0
        return 1


def collection(farm: Farm) -> Iterator[Metric]:
    """What the newest collection of the registry's garbage found, and what all of them freed; 0 before the first."""
    newest = Collections(farm.database).newest()
    found = newest.found if newest else {}
    totals = newest.totals if newest else {}
    removed = CounterMetricFamily("buildfarm_registry_removed", "What collections removed", labels=["what"])
    for what in ("manifests", "blobs"):
        removed.add_metric([what], totals.get(what, 0))
    yield removed
    freed_bytes = totals.get("freed_bytes", 0)
    yield CounterMetricFamily("buildfarm_registry_freed_bytes", "Bytes that collections freed", freed_bytes)
    yield _gauge("buildfarm_registry_stored_bytes", "All blobs of the registry", found.get("stored_bytes", 0))
    yield _gauge("buildfarm_registry_left_bytes", "Garbage left for the next collection", found.get("left_bytes", 0))
    ended_at = newest.ended_at if newest else 0
    yield _gauge("buildfarm_registry_collected_timestamp_seconds", "When the newest collection ended", ended_at)
    manifests = GaugeMetricFamily("buildfarm_registry_kept_manifests", "Manifests by why they stay", labels=["reason"])
    kept_bytes = GaugeMetricFamily("buildfarm_registry_kept_bytes", "Their blobs' bytes", labels=["reason"])
    for reason in Reason:
        share = found.get("kept", {}).get(reason, {})
        manifests.add_metric([reason], share.get("manifests", 0))
        kept_bytes.add_metric([reason], share.get("bytes", 0))
    yield manifests
    yield kept_bytes


def archive(farm: Farm) -> Iterator[Metric]:
    """How the archive stands, as the node that archives last saw it; 0 before the first time."""
    found = Tally(farm.database).read()
    yield _gauge("buildfarm_archive_builds", "Builds in the archive", found.builds)
    yield _gauge("buildfarm_archive_packs", "Their packs", found.packs)
    yield _gauge("buildfarm_archive_log_bytes", "Their logs, compressed", found.log_bytes)
    yield _gauge("buildfarm_archive_damaged_packs", "Packs that cannot be read", found.damaged)
    yield _gauge("buildfarm_archive_waiting_builds", "Builds whose time to be archived has come", found.waiting.builds)
    yield _gauge("buildfarm_archive_waiting_logs", "Those whose log is on its node", found.waiting.logs)
    overdue = "For how long the first of them should have been archived"
    yield _gauge("buildfarm_archive_overdue_seconds", overdue, found.overdue_seconds)
    looked = "When a node last looked for builds to archive"
    yield _gauge("buildfarm_archive_looked_timestamp_seconds", looked, found.looked_at)


def make_standing(farm: Farm) -> Standing:
    """A collector of this farm."""
    return Standing(farm, tenants=farm.settings.metrics_tenants)


def _by_size(rows: tuple[QueueRow, ...]) -> Iterator[Metric]:
    """The builds of all classes by their size; labels are the sizes of the settings."""
    builds = GaugeMetricFamily("buildfarm_size_builds", "Builds by size and state", labels=["size", "state"])
    oldest = GaugeMetricFamily(
        "buildfarm_size_oldest_seconds", "How long the oldest queued build of a size has waited", labels=["size"]
    )
    for size in dict.fromkeys(row.size for row in rows):
        found = [row for row in rows if row.size == size]
        for state in _WAITING:
            builds.add_metric([size, state], sum(getattr(row, state) for row in found))
        oldest.add_metric([size], max(row.oldest_seconds or 0 for row in found))
    yield builds
    yield oldest


def _by_tenant(rows: tuple[QueueRow, ...]) -> Metric:
    builds = GaugeMetricFamily(
        "buildfarm_tenant_queue_builds", "Builds by tenant and state", labels=["tenant", "state"]
    )
    totals: dict[tuple[str, str], int] = {}
    for row in rows:
        for state in _WAITING:
            totals[row.tenant, state] = totals.get((row.tenant, state), 0) + getattr(row, state)
    for (tenant, state), count in totals.items():
        builds.add_metric([tenant, state], count)
    return builds


def signing(farm: Farm) -> Iterator[Metric]:
    """What waits for the signer; with signing off too, as what was handed over before still waits."""
    requests = SignRequests(farm.admission)
    count, seconds = requests.waiting()
    yield _gauge("buildfarm_signing_waiting", "Images that wait for the signer", count)
    yield _gauge("buildfarm_signing_oldest_seconds", "How long the oldest of them has waited", seconds)
    yield CounterMetricFamily("buildfarm_signing_refused", "Images that signers refused to sign", requests.refused())


def rollouts(farm: Farm) -> Iterator[Metric]:
    """The rollouts that are under way, by phase, and their apps by state."""
    kept = Rollouts(farm.database)
    active = [one for one in kept.all() if one.phase.active]
    phases = GaugeMetricFamily("buildfarm_rollouts", "Rollouts under way by phase", labels=["phase"])
    for phase in (phase for phase in Phase if phase.active):
        phases.add_metric([phase], sum(one.phase is phase for one in active))
    yield phases
    found = [(one, kept.apps(one.id).values()) for one in active]
    counts = Counter(app.state for _, apps in found for app in apps)
    states = GaugeMetricFamily("buildfarm_rollout_apps", "Apps of these rollouts by state", labels=["state"])
    for state in AppState:
        states.add_metric([state], counts[state])
    yield states
    now = farm.database.now() if active else 0.0
    unreported, silent = "Moved apps whose report is overdue", sum(silent_apps(*one, now) for one in found)
    yield _gauge("buildfarm_rollout_silent_apps", unreported, silent)
    oldest = min((one.created_at for one in active), default=0)
    yield _gauge("buildfarm_rollout_created_timestamp_seconds", "When the oldest of them was planned", oldest)


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)
