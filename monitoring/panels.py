"""The dashboards' panels: what each asks Prometheus, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Panel:
    """A drawing of one or more expressions. ``queries`` are (expression, legend)."""

    title: str
    unit: str  # Grafana's id of the unit
    told: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "lines"  # lines, stacked, number


@dataclass(frozen=True)
class Board:
    """A dashboard: rows of panels."""

    name: str
    title: str
    told: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variables: tuple[tuple[str, str], ...] = field(default=())  # name, query


def quantile(share: str, metric: str, by: str = "") -> str:
    """A histogram's quantile, where anything was measured lately."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Median, 95 % and 99 %."""
    return tuple(
        (quantile(share, metric), name) for share, name in (("0.5", "median"), ("0.95", "95 %"), ("0.99", "99 %"))
    )


def rate(selector: str, by: str = "") -> str:
    """A counter's rate, summed."""
    return f"sum{f' by ({by})' if by else ''} (rate({selector}[$__rate_interval]))"


_ENDED = 'buildfarm_builds_total{outcome=~"succeeded|failed"}'
_FAILED = 'buildfarm_builds_total{outcome="failed"}'
_SHARE_FAILED = f"{rate(_FAILED, 'fault')} / scalar({rate(_ENDED)})"
_HITS = 'buildfarm_cache_restores_total{result!="miss"}'
_OWN = 'buildfarm_tenant_builds_total{tenant="$tenant"}'

OVERVIEW = Board(
    "overview",
    "Buildfarm: overview",
    "The four golden signals: latency, traffic, errors, saturation.",
    (
        ("Now", (
            Panel("Builds running", "none", "Builds that hold a slot.", (('sum(max by (build_class) (buildfarm_queue_builds{state="running"}))', "running"),), "number"),
            Panel("Builds waiting", "none", "Held and queued.", (('sum(max by (build_class, state) (buildfarm_queue_builds{state=~"held|queued"}))', "waiting"),), "number"),
            Panel("Oldest waits", "s", "For how long the oldest build waits.", (("max(buildfarm_queue_oldest_seconds)", "oldest"),), "number"),
            Panel("Nodes that take builds", "none", "Of all that live.", (('max(buildfarm_nodes{state="ready"})', "ready"),), "number"),
        )),
        ("Latency and traffic", (
            Panel("Time of a build, submit to end", "s", "Of builds that succeeded.", tuple((expr.replace("_bucket[", '_bucket{outcome="succeeded"}['), name) for expr, name in quantiles("buildfarm_build_seconds"))),
            Panel("The farm's own time", "s", "Prepare, export and publish of successful builds.", quantiles("buildfarm_farm_seconds")),
            Panel("Attempts that ended", "ops", "By how they ended.", ((rate("buildfarm_builds_total", "outcome"), "{{outcome}}"),), "stacked"),
            Panel("Requests to the API", "reqps", "By status.", ((rate("buildfarm_api_requests_total", "status"), "{{status}}"),), "stacked"),
        )),
        ("Errors and saturation", (
            Panel("Share of builds that failed", "percentunit", "By whose fault it was; the farm's should be near 0.", ((_SHARE_FAILED, "{{fault}}"),)),
            Panel("Failures by code", "ops", "docs/cli.md says what each means.", ((rate('buildfarm_builds_total{outcome=~"failed|given_back"}', "code"), "{{code}}"),), "stacked"),
            Panel("Slots in use", "percentunit", "Of all slots of living nodes.", (("max(buildfarm_farm_slots_busy) / max(buildfarm_farm_slots)", "in use"),)),
            Panel("Redis and registry answer", "none", "1: it answers.", (("min(buildfarm_redis_up)", "redis"), ("min(buildfarm_registry_up)", "registry"))),
        )),
    ),
)  # fmt: skip

PHASES = Board(
    "phases",
    "Buildfarm: phases of builds",
    "Where builds spend their time.",
    (
        ("Phases", (
            Panel("Median of each phase", "s", "Prepare, export and publish are the farm's; the others are the app's.", ((quantile("0.5", "buildfarm_phase_seconds", "phase"), "{{phase}}"),)),
            Panel("95 % of each phase", "s", "The slow ones.", ((quantile("0.95", "buildfarm_phase_seconds", "phase"), "{{phase}}"),)),
            Panel("Busy builds by phase", "none", "How many builds were in each phase, on average.", ((rate("buildfarm_phase_seconds_sum", "phase"), "{{phase}}"),), "stacked"),
            Panel("Time of a build by outcome", "s", "Mean from submit to end.", ((f"{rate('buildfarm_build_seconds_sum', 'outcome')} / ({rate('buildfarm_build_seconds_count', 'outcome')} > 0)", "{{outcome}}"),)),
        )),
        ("What stops builds", (
            Panel("Limits hit", "ops", "Time, memory, size.", ((rate("buildfarm_limits_hit_total", "limit"), "{{limit}}"),), "stacked"),
            Panel("Attempts, first and again", "ops", "Again: the one before was lost or given back.", ((rate("buildfarm_attempts_total", "kind"), "{{kind}}"),), "stacked"),
            Panel("Build caches found", "percentunit", "Of those looked for.", ((f"{rate(_HITS)} / {rate('buildfarm_cache_restores_total')}", "found"),)),
        )),
    ),
)  # fmt: skip

NODES = Board(
    "nodes",
    "Buildfarm: nodes and pre-warm",
    "Whether nodes are fit for builds.",
    (
        ("Nodes", (
            Panel("Nodes by state", "none", "Gone: silent for a while; its builds run elsewhere.", (("max by (state) (buildfarm_nodes)", "{{state}}"),), "stacked"),
            Panel("Takes builds", "none", "1: it does.", (('buildfarm_node_accepting{instance=~"$node"}', "{{instance}}"),)),
            Panel("Builds on each node", "none", "That run now.", (('buildfarm_builds_running{instance=~"$node"}', "{{instance}}"),), "stacked"),
            Panel("Slots in use", "percentunit", "Of each node's own.", (('buildfarm_builds_running{instance=~"$node"} / (buildfarm_slots{instance=~"$node"} > 0)', "{{instance}}"),)),
        )),
        ("Pre-warm and disk", (
            Panel("Builder is ready", "none", "1: the node has the builders it is to use.", (('buildfarm_builder_ready{instance=~"$node"}', "{{instance}}"),)),
            Panel("Builders", "none", "Of channels and rollouts: on the node, and still missing.", (('buildfarm_builders{instance=~"$node"}', "{{instance}}"), ('buildfarm_builders_missing{instance=~"$node"}', "{{instance}} lacks"))),
            Panel("Newest pre-warm", "s", "How long it took.", (('buildfarm_prewarm_seconds{instance=~"$node"}', "{{instance}}"),)),
            Panel("Unpacked build caches", "bytes", "Snapshots that builds begin on, together; one that was forgotten while a build stands on it counts no more.", (('buildfarm_snapshot_bytes{instance=~"$node"}', "{{instance}}"),)),
            Panel("Disk in use", "percentunit", "Where workspaces are.", (('1 - buildfarm_disk_free_bytes{instance=~"$node"} / buildfarm_disk_size_bytes{instance=~"$node"}', "{{instance}}"),)),
            Panel("Leases and messages lost", "ops", "Builds taken back from silent nodes, and messages sent again.", ((rate("buildfarm_leases_expired_total"), "leases"), (rate("buildfarm_messages_resent_total"), "messages"))),
        )),
    ),
    (("node", "label_values(buildfarm_slots, instance)"),),
)  # fmt: skip

QUEUE = Board(
    "queue",
    "Buildfarm: queue and fairness",
    "Who waits, and for how long.",
    (
        ("Queue", (
            Panel("Builds waiting", "none", "Held: its tenant's limit; queued: a slot.", (('max by (build_class, state) (buildfarm_queue_builds{state=~"held|queued"})', "{{build_class}} {{state}}"),), "stacked"),
            Panel("Oldest waits", "s", "Of each class.", (("max by (build_class) (buildfarm_queue_oldest_seconds)", "{{build_class}}"),)),
            Panel("Wait, submit to start", "s", "Of each build's first attempt.", quantiles("buildfarm_queue_wait_seconds")),
            Panel("Builds running", "none", "Of each class.", (('max by (build_class) (buildfarm_queue_builds{state="running"})', "{{build_class}}"),), "stacked"),
        )),
        ("Sizes", (
            Panel("Builds by size", "none", "Queued and running.", (('max by (size, state) (buildfarm_size_builds{state=~"queued|running"})', "{{size}} {{state}}"),), "stacked"),
            Panel("Room by size", "none", "Builds of each size that the nodes run if they run no others.", (("max by (size) (buildfarm_size_slots)", "{{size}}"),)),
            Panel("Oldest of each size waits", "s", "Of all classes.", (("max by (size) (buildfarm_size_oldest_seconds)", "{{size}}"),)),
        )),
        ("Fairness and Redis", (
            Panel("Waiting by tenant", "none", "Needs BUILDFARM_METRICS_TENANTS.", (('topk(10, max by (tenant) (sum by (tenant, instance) (buildfarm_tenant_queue_builds{state=~"held|queued"})))', "{{tenant}}"),), "stacked"),
            Panel("Attempts that ended, by tenant", "ops", "Needs BUILDFARM_METRICS_TENANTS.", ((f"topk(10, {rate('buildfarm_tenant_builds_total', 'tenant')})", "{{tenant}}"),), "stacked"),
            Panel("Messages in Redis", "none", "In all of Celery's queues.", (("sum(max by (queue_name) (celery_queue_length))", "messages"),)),
            Panel("Memory of Redis", "bytes", "In use, of it for logs, and the limit.", (("max(buildfarm_redis_used_bytes)", "in use"), ("max(buildfarm_logs_bytes)", "logs"), ("max(buildfarm_redis_max_bytes)", "limit"))),
        )),
    ),
)  # fmt: skip

TENANT = Board(
    "tenant",
    "Buildfarm: one tenant",
    "One tenant's builds. Needs BUILDFARM_METRICS_TENANTS.",
    (
        ("Builds", (
            Panel("Attempts that ended", "ops", "By how they ended.", ((rate(_OWN, "outcome"), "{{outcome}}"),), "stacked"),
            Panel("Share that succeeded", "percentunit", "Of the time shown.", (('sum(increase(buildfarm_tenant_builds_total{tenant="$tenant",outcome="succeeded"}[$__range])) / sum(increase(buildfarm_tenant_builds_total{tenant="$tenant"}[$__range]))', "succeeded"),), "number"),
            Panel("Builds by state", "none", "Held, queued and running.", (('max by (state) (buildfarm_tenant_queue_builds{tenant="$tenant"})', "{{state}}"),), "stacked"),
            Panel("Its share of all attempts", "percentunit", "Lately.", ((f"{rate(_OWN)} / {rate('buildfarm_tenant_builds_total')}", "share"),)),
        )),
    ),
    (("tenant", "label_values(buildfarm_tenant_builds_total, tenant)"),),
)  # fmt: skip

REGISTRY = Board(
    "registry",
    "Buildfarm: registry and layers",
    "What travels, and what need not.",
    (
        ("Layers", (
            Panel("Layer bytes of finished images", "Bps", "Sent to the registry, or found there.", ((rate("buildfarm_layer_bytes_total", "moved"), "{{moved}}"),), "stacked"),
            Panel("Share of bytes reused", "percentunit", "Of the apps' own layers, over the time shown.", (('sum(increase(buildfarm_layer_bytes_total{moved="reused"}[$__range])) / sum(increase(buildfarm_layer_bytes_total[$__range]))', "reused"),), "number"),
            Panel("Layers", "ops", "Sent, or found.", ((rate("buildfarm_layers_total", "moved"), "{{moved}}"),), "stacked"),
        )),
        ("Registry", (
            Panel("Requests", "reqps", "By method.", ((rate("buildfarm_registry_request_seconds_count", "method"), "{{method}}"),), "stacked"),
            Panel("95 % of requests", "s", "Until the head of the answer; an upload's includes its body.", ((f"{quantile('0.95', 'buildfarm_registry_request_seconds', 'method')} >= 0", "{{method}}"),)),
            Panel("Requests that failed", "reqps", "Refused by their status, or without an answer.", ((rate('buildfarm_registry_request_seconds_count{answer!="ok"}', "answer"), "{{answer}}"),), "stacked"),
            Panel("Kept by reason", "bytes", "Blobs that the newest collection kept, each for the first reason that keeps it.", (("max by (reason) (buildfarm_registry_kept_bytes)", "{{reason}}"),), "stacked"),
            Panel("Freed", "Bps", "By collections of its garbage.", (("max(rate(buildfarm_registry_freed_bytes_total[1h]))", "freed"),)),
            Panel("Registry answers", "none", "1: it does.", (("min(buildfarm_registry_up)", "registry"),)),
        )),
        ("Archive", (
            Panel("Builds in the archive", "none", "Ended builds that have left Redis.", (("max(buildfarm_archive_builds)", "builds"),), "number"),
            Panel("Archived logs", "bytes", "Compressed.", (("max(buildfarm_archive_log_bytes)", "logs"),), "number"),
            Panel("Packs", "none", "All, and those that cannot be read.", (("max(buildfarm_archive_packs)", "all"), ("max(buildfarm_archive_damaged_packs)", "damaged"))),
            Panel("Builds that wait for the archive", "none", "Their time has come; of them, those whose log is still on its node.", (("max(buildfarm_archive_waiting_builds)", "builds"), ("max(buildfarm_archive_waiting_logs)", "log on its node"))),
            Panel("The archive is behind by", "s", "For how long the first of them should have been archived.", (("max(buildfarm_archive_overdue_seconds)", "behind"),)),
            Panel("Logs that wait on nodes", "bytes", "Until the registry has them.", (("buildfarm_log_spool_bytes", "{{instance}}"),), "stacked"),
        )),
        ("Webhooks", (
            Panel("Deliveries", "ops", "Tries, by how they ended.", ((rate("buildfarm_webhooks_total", "result"), "{{result}}"),), "stacked"),
        )),
    ),
)  # fmt: skip

ROLLOUTS = Board(
    "rollouts",
    "Buildfarm: rollouts",
    "Moves of apps to another base, in waves.",
    (
        ("Now", (
            Panel("Rollouts under way", "none", "Those that are planned or have ended are not.", (("sum(max by (phase) (buildfarm_rollouts))", "under way"),), "number"),
            Panel("Paused", "none", "They wait for a person.", (('max(buildfarm_rollouts{phase="paused"})', "paused"),), "number"),
            Panel("Unhealthy on the new base", "none", "They were healthy before, and have not gone back.", (('max(buildfarm_rollout_apps{state="failed"})', "failed"),), "number"),
            Panel("Reports overdue", "none", "Moved apps of which no report came in time.", (("max(buildfarm_rollout_silent_apps)", "silent"),), "number"),
        )),
        ("Waves", (
            Panel("Phase", "none", "Of the rollouts under way.", (("max by (phase) (buildfarm_rollouts)", "{{phase}}"),), "stacked"),
            Panel("Apps by state", "none", "Of these rollouts.", (("max by (state) (buildfarm_rollout_apps)", "{{state}}"),), "stacked"),
            Panel("Apps on the new base", "percentunit", "Healthy there, of all that can be moved.", (('max(buildfarm_rollout_apps{state="healthy"}) / clamp_min(sum(max by (state) (buildfarm_rollout_apps{state!~"held|frozen|not_movable|unmoved"})), 1)', "healthy"),)),
            Panel("Age of the oldest", "s", "Since it was planned; 0: none is under way.", (("(time() - max(buildfarm_rollout_created_timestamp_seconds)) * (sum(max by (phase) (buildfarm_rollouts)) > bool 0)", "age"),)),
        )),
    ),
)  # fmt: skip

BOARDS = (OVERVIEW, PHASES, NODES, QUEUE, TENANT, REGISTRY, ROLLOUTS)
