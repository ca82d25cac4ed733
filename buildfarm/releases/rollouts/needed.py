"""What rollouts that have not ended need of the registry."""

from __future__ import annotations

from buildfarm.releases.channels.app_bases import AppBases
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.store.database import Database


def digests_of_rollouts(database: Database) -> set[str]:
    """Their bases, the images that they have composed, and those that apps go back to. Raises StoreError.

    Apps of a rollout that was superseded stay on its base until a later one ends; so do their builds.
    """
    rollouts, found = Rollouts(database), AppBases(database).moved()
    for rollout in rollouts.all():
        if rollout.phase.final:
            continue
        found |= {rollout.base, rollout.source}
        for app in rollouts.apps(rollout.id).values():
            found |= {app.image, app.previous, app.previous_base, app.kept_base}
    return {digest for one in found if (digest := one.rpartition("@")[2])}
