"""The rules of a collection, made of the settings and the policies that were set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from buildfarm.gc.choose import Keep, Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.retention import DAY, effective
from buildfarm.settings import Settings


def rules_of(settings: Settings) -> Rules:
    """The rules that these settings give for every tenant."""
    return Rules(
        images=settings.retain_images,
        image_seconds=settings.retain_image_days * DAY,
        sources=settings.retain_sources,
        source_seconds=settings.retain_source_days * DAY,
        caches=settings.retain_caches,
        cache_seconds=settings.retain_cache_days * DAY,
        grace_seconds=settings.grace_seconds,
    )


def rules_with(settings: Settings, values: Mapping[str, float]) -> Rules:
    """The same with the policies of these values, as "tenant:field" and "tenant/app:field"."""
    policies: dict[str, Keep] = {}
    for owner in {name.rpartition(":")[0] for name in values}:
        tenant, _, app = owner.partition("/")
        found = effective(settings, values, tenant, app or None)
        policies[f"apps/{owner}"] = Keep(found.image_days * DAY, found.images)
        policies[f"caches/{owner}"] = Keep(found.cache_days * DAY, found.caches)
        if not app:
            policies[f"sources/{owner}"] = Keep(found.source_days * DAY, found.sources)
    return replace(rules_of(settings), policies=policies)


def budget_of(settings: Settings) -> Budget:
    """What one collection may do by these settings."""
    return Budget(settings.collect_bytes or float("inf"), settings.collect_seconds)
