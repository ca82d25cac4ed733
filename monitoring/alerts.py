"""The alerts: when a person is called, and the series that make each one fire in its test."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Alert:
    """One alert. ``fires_with`` are series and values, a minute apart, with which it fires after ``fires_after``."""

    name: str
    expr: str
    after: str
    severity: str  # page: needs an operator now; ticket: can wait until tomorrow
    summary: str
    fires_with: tuple[tuple[str, str], ...]
    fires_after: str
    told: str  # its summary then
    labels: tuple[tuple[str, str], ...] = ()  # that the firing alert has beside its severity

    @property
    def runbook(self) -> str:
        """The page's name in docs/runbooks."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", self.name.removeprefix("Buildfarm")).lower()


_FARM_FAILED = 'buildfarm_builds_total{outcome="failed",fault="farm"}'

_ENDED = 'buildfarm_builds_total{outcome=~"succeeded|failed"}'

_GROWN = "max(delta(buildfarm_registry_stored_bytes[6h]))"

ALERTS = (
    Alert(
        "BuildfarmQueueOld",
        "max by (build_class) (buildfarm_queue_oldest_seconds) > 600",
        "5m",
        "page",
        "A build of class {{ $labels.build_class }} has waited for {{ $value | humanizeDuration }}.",
        (('buildfarm_queue_oldest_seconds{build_class="interactive"}', "0+120x20"),),
        "20m",
        "A build of class interactive has waited for 40m 0s.",
        (("build_class", "interactive"),),
    ),
    Alert(
        "BuildfarmFarmFailures",
        f"sum(rate({_FARM_FAILED}[15m])) / sum(rate({_ENDED}[15m])) > 0.05",
        "5m",
        "page",
        "{{ $value | humanizePercentage }} of builds fail by the farm's fault.",
        (
            ('buildfarm_builds_total{outcome="failed",fault="farm",code="farm.node"}', "0+1x40"),
            ('buildfarm_builds_total{outcome="succeeded",fault="none",code="none"}', "0+5x40"),
        ),
        "25m",
        "16.67% of builds fail by the farm's fault.",
    ),
    Alert(
        "BuildfarmNodeLost",
        'max(buildfarm_nodes{state="gone"}) > 0',
        "2m",
        "ticket",
        "{{ $value }} build nodes went silent.",
        (('buildfarm_nodes{state="gone"}', "0 0 1x20"),),
        "10m",
        "1 build nodes went silent.",
    ),
    Alert(
        "BuildfarmNoNodes",
        'max(buildfarm_nodes{state="ready"}) == 0',
        "2m",
        "page",
        "No build node takes builds.",
        (('buildfarm_nodes{state="ready"}', "1 1 0x20"),),
        "10m",
        "No build node takes builds.",
    ),
    Alert(
        "BuildfarmSizeUnserved",
        'max by (size) (buildfarm_size_builds{state="queued",size!="standard"}) > 0'
        " and max by (size) (buildfarm_size_slots) == 0",
        "10m",
        "page",
        "{{ $value }} builds of the size {{ $labels.size }} wait, and no node serves it.",
        (
            ('buildfarm_size_builds{size="large",state="queued"}', "0 3x30"),
            ('buildfarm_size_slots{size="large"}', "1 0x30"),
        ),
        "20m",
        "3 builds of the size large wait, and no node serves it.",
        (("size", "large"),),
    ),
    Alert(
        "BuildfarmPrewarmStuck",
        "buildfarm_builder_ready == 0",
        "10m",
        "ticket",
        "{{ $labels.instance }} has not had the builder it is to use for 10 minutes.",
        (('buildfarm_builder_ready{instance="n1"}', "0x30"),),
        "15m",
        "n1 has not had the builder it is to use for 10 minutes.",
        (("instance", "n1"),),
    ),
    Alert(
        "BuildfarmNetworkRules",
        "buildfarm_network_rules_confirmed == 0",
        "1m",
        "page",
        "The network rules of the sandboxes on {{ $labels.instance }} are not confirmed.",
        (('buildfarm_network_rules_confirmed{instance="n1"}', "1 1 0x20"),),
        "10m",
        "The network rules of the sandboxes on n1 are not confirmed.",
        (("instance", "n1"),),
    ),
    Alert(
        "BuildfarmDiskHigh",
        "buildfarm_disk_free_bytes / buildfarm_disk_size_bytes < 0.1",
        "5m",
        "ticket",
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its disk left.",
        (
            ('buildfarm_disk_free_bytes{instance="n1"}', "5x20"),
            ('buildfarm_disk_size_bytes{instance="n1"}', "100x20"),
        ),
        "10m",
        "n1 has 5% of its disk left.",
        (("instance", "n1"),),
    ),
    Alert(
        "BuildfarmLeasesLost",
        "sum(increase(buildfarm_leases_expired_total[15m])) > 3",
        "0m",
        "ticket",
        "{{ $value | humanize }} builds lost their node in 15 minutes.",
        (('buildfarm_leases_expired_total{instance="n1"}', "0+1x30"),),
        "20m",
        "15 builds lost their node in 15 minutes.",
    ),
    Alert(
        "BuildfarmRedisAway",
        "max(buildfarm_redis_up) == 0",
        "1m",
        "page",
        "Redis does not answer the API.",
        (("buildfarm_redis_up", "1 0x20"),),
        "5m",
        "Redis does not answer the API.",
    ),
    Alert(
        "BuildfarmRedisMemory",
        "max(buildfarm_redis_used_bytes) / (max(buildfarm_redis_max_bytes) > 0) > 0.7",
        "5m",
        "page",
        "Redis uses {{ $value | humanizePercentage }} of its memory; at 80% new builds are refused.",
        (("buildfarm_redis_used_bytes", "600+10x30"), ("buildfarm_redis_max_bytes", "1000x30")),
        "20m",
        "Redis uses 80% of its memory; at 80% new builds are refused.",
    ),
    Alert(
        "BuildfarmRegistryAway",
        "max(buildfarm_registry_up) == 0",
        "1m",
        "page",
        "The registry does not answer the API.",
        (("buildfarm_registry_up", "1 0x20"),),
        "5m",
        "The registry does not answer the API.",
    ),
    Alert(
        "BuildfarmRegistryGrows",
        f"{_GROWN} > max(increase(buildfarm_registry_freed_bytes_total[6h]))"
        f" and {_GROWN} > 0.1 * max(buildfarm_registry_stored_bytes)"
        " and max(min_over_time(buildfarm_registry_stored_bytes[6h])) > 0",  # 0 before the first collection
        "1h",
        "ticket",
        "The registry grew by {{ $value | humanize1024 }}B in 6 hours, more than its collections freed.",
        (
            ("buildfarm_registry_stored_bytes", "1000+10x540"),
            ("buildfarm_registry_freed_bytes_total", "0+1x540"),
        ),
        "8h",
        "The registry grew by 3.516kiB in 6 hours, more than its collections freed.",
    ),
    Alert(
        "BuildfarmRegistryUncollected",
        "time() - (max(buildfarm_registry_collected_timestamp_seconds) > 0) > 86400",
        "10m",
        "ticket",
        "The newest collection of the registry's garbage ended {{ $value | humanizeDuration }} ago.",
        (("buildfarm_registry_collected_timestamp_seconds", "60x1600"),),
        "26h",
        "The newest collection of the registry's garbage ended 1d 1h 59m 0s ago.",
    ),
    Alert(
        "BuildfarmArchiveBehind",
        # Only where there are nodes: a farm that is scaled to none has no leader to archive, and nothing ends there.
        "(max(buildfarm_archive_overdue_seconds) > 3600"
        " or time() - (max(buildfarm_archive_looked_timestamp_seconds) > 0) > 3600) and max(buildfarm_farm_slots) > 0",
        "10m",
        "ticket",
        "The archive is {{ $value | humanizeDuration }} behind: ended builds stay in Redis.",
        (("buildfarm_archive_overdue_seconds", "0+60x120"), ("buildfarm_farm_slots", "2x120")),
        "110m",
        "The archive is 1h 50m 0s behind: ended builds stay in Redis.",
    ),
    Alert(
        "BuildfarmArchiveDamaged",
        "max(buildfarm_archive_damaged_packs) > 0",
        "5m",
        "ticket",
        "{{ $value }} packs of the archive cannot be read.",
        (("buildfarm_archive_damaged_packs", "0 0 2x20"),),
        "15m",
        "2 packs of the archive cannot be read.",
    ),
    Alert(
        "BuildfarmApiAway",
        "absent(buildfarm_redis_up)",
        "2m",
        "page",
        "No API process is scraped.",
        (("buildfarm_redis_up", "1 1 stale"),),
        "15m",
        "No API process is scraped.",
    ),
    Alert(
        "BuildfarmSignerBehind",
        "max(buildfarm_signing_oldest_seconds) > 60",
        "2m",
        "page",
        "An image has waited for its signature for {{ $value | humanizeDuration }}.",
        (("buildfarm_signing_oldest_seconds", "0+60x30"),),
        "15m",
        "An image has waited for its signature for 15m 0s.",
    ),
    Alert(
        "BuildfarmSignaturesRefused",
        "max(increase(buildfarm_signing_refused_total[1h])) > 0",
        "0m",
        "ticket",
        "The signer refused {{ $value | humanize }} images in the last hour.",
        (("buildfarm_signing_refused_total", "0 0 1x60"),),
        "30m",
        "The signer refused 1 images in the last hour.",
    ),
    Alert(
        "BuildfarmWebhooksGivenUp",
        'sum(increase(buildfarm_webhooks_total{result="given_up"}[1h])) > 0',
        "0m",
        "ticket",
        "{{ $value | humanize }} webhooks were given up in the last hour.",
        (('buildfarm_webhooks_total{result="given_up"}', "0 0 1x60"),),
        "30m",
        "1 webhooks were given up in the last hour.",
    ),
    Alert(
        "BuildfarmRolloutPaused",
        'max(buildfarm_rollouts{phase="paused"}) > 0',
        "5m",
        "ticket",
        "{{ $value }} rollouts are paused and wait for a person.",
        (('buildfarm_rollouts{phase="paused"}', "0 0 1x20"),),
        "10m",
        "1 rollouts are paused and wait for a person.",
    ),
    Alert(
        "BuildfarmRolloutUnhealthy",
        'max(buildfarm_rollout_apps{state="failed"}) > 0',
        "2m",  # an app that goes back by itself is not in this state for so long
        "page",
        "{{ $value }} apps are unhealthy on the base that a rollout moved them to.",
        (('buildfarm_rollout_apps{state="failed"}', "0 0 3x20"),),
        "10m",
        "3 apps are unhealthy on the base that a rollout moved them to.",
    ),
    Alert(
        "BuildfarmRolloutSilent",
        "max(buildfarm_rollout_silent_apps) > 0",
        "5m",
        "ticket",
        "No report of {{ $value }} apps came since a rollout moved them.",
        (("buildfarm_rollout_silent_apps", "0 0 2x20"),),
        "10m",
        "No report of 2 apps came since a rollout moved them.",
    ),
    Alert(
        "BuildfarmRolloutOld",
        "time() - (max(buildfarm_rollout_created_timestamp_seconds) > 0) > 604800",
        "10m",
        "ticket",
        "A rollout was planned {{ $value | humanizeDuration }} ago and has not ended.",
        (("buildfarm_rollout_created_timestamp_seconds", "60x11000"),),
        "170h",
        "A rollout was planned 7d 1h 59m 0s ago and has not ended.",
    ),
)
