"""The claims of a soak. No I/O but the table's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testkit.table import Claims
from verify.soak.lives import GROWTH_MAX, MEASURES
from verify.soak.times import Plan

_MB = 1e6
# What went wrong and says that the farm has lost something; the others say that it kept something for too long.
_LOST = ("lost build", "other end", "unreadable")
# What nodes say if a log, a build or a collection is lost; a registry or Redis that is slow for a moment is none.
_GRAVE = ("log_lost", "spool_lost", "spool_given_up", "collection_failed", "upkeep_bug", "pack_damaged")


def report(claims: Claims, plan: Plan, figures: Mapping[str, Any]) -> None:
    """Adds them."""
    first, last = figures["compared"]
    for name, (before, after) in figures["growth"].items():
        ratio = after / before
        units = (
            f"{before / _MB:,.1f} to {after / _MB:,.1f} MB" if name != "inodes" else f"{before:,.0f} to {after:,.0f}"
        )
        text = f"{MEASURES[name]}, mean of life {last} against {first}: at most {GROWTH_MAX}x"
        claims.add(text, f"{ratio:.3f}x, {units}", 0 < ratio <= GROWTH_MAX and first < last)
    _add_losses(claims, figures)
    builds, seconds = figures["builds"], plan.minutes * 60
    waited = figures["waited_seconds"]
    figure = f"{builds / seconds:.1f}/s, {builds:,} builds; for {waited} s of {seconds:.0f} the farm was too far behind"
    claims.add(f"{plan.rate:g} builds a second", figure, builds >= 0.99 * plan.rate * seconds)


def _add_losses(claims: Claims, figures: Mapping[str, Any]) -> None:
    wrong, refused, builds = figures["wrong_counts"], figures["refused"], figures["builds"]
    claims.add("no refusal", f"{sum(refused.values())} of {builds:,} {dict(refused)}", builds > 0 and not refused)
    lost = {what: wrong[what] for what in _LOST if what in wrong}
    checked = f"{figures['checked']:,} found in the archive, attempts {dict(figures['attempts'])}"
    claims.add("no lost build", f"{checked} {lost or ''}", figures["checked"] == builds and not lost)
    size = f"{figures['log_bytes'] / _MB:,.0f} MB of lines as they were printed"
    logs, images, kept = (wrong.get(what, 0) for what in ("other log", "lost image", "not gone"))
    claims.add("no lost log line", f"{size}, {logs} builds with another log", figures["log_bytes"] > 0 and not logs)
    claims.add("no image is removed before its record", f"{images} missing", not images)
    claims.add("after its life nothing is known of a build", f"{kept} of one in twenty are", not kept)
    grave = {event: count for event, count in figures["complaints"].items() if event in _GRAVE}
    claims.add("no node loses a log or a collection", f"{dict(figures['complaints'])}", not grave)
