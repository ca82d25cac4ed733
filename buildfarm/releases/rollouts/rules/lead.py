"""The time that hosts have to get a rollout's base before its first app moves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.releases.rollouts.rules.states import App, Rollout


@dataclass(frozen=True)
class HostCount:
    """The hosts that report which bases they have."""

    known: int = 0
    ready: int = 0  # of these, those that have the rollout's base

    @property
    def all_ready(self) -> bool:
        """No reporting host lacks the base; false if none reports."""
        return 0 < self.known <= self.ready


NO_HOSTS = HostCount()


def lead_ends(rollout: Rollout) -> float:
    """When the first app moves at the latest: hosts read of the base from the plan on."""
    return rollout.created_at + rollout.parameters.lead_seconds


def waits_for_hosts(rollout: Rollout, apps: Mapping[str, App], hosts: HostCount, now: float) -> str:
    """Why the first app does not move yet; empty if it can. Nothing waits after a first app has moved.

    A campaign has no base that hosts could get, so it waits for none.
    """
    left = lead_ends(rollout) - now
    if rollout.rebuilds or left <= 0 or hosts.all_ready or any(app.announced_at for app in apps.values()):
        return ""
    found = f"{hosts.ready} of {hosts.known} have it" if hosts.known else "none reports"
    return f"hosts get the base: {found}; the first app moves in {left:.0f} s at the latest"
