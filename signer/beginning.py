"""What a farm's first signer takes over: the images and bases that were there before signing was turned on."""

from __future__ import annotations

from buildfarm.farm import Farm
from buildfarm.releases.channels.pointers import Pointers
from buildfarm.releases.rollouts.store import Rollouts
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.known_bases import KnownBases
from buildfarm.store.database import Database
from buildfarm.store.tags import tag_targets
from buildfarm.telemetry import Logger

_SCAN_COUNT = 1000


def begin(farm: Farm, log: Logger) -> None:
    """Once in a farm's life. From then on, only operators make bases known, and images need evidence.

    Raises StoreError.
    """
    adopted = Adopted(farm.database)
    if adopted.has_begun():
        return
    pointers = Pointers(farm.database)
    channels = pointers.all()
    before = [change.base for name in channels for change in pointers.history(name)]
    rollouts = [base for one in Rollouts(farm.database).all() for base in (one.base, one.source) if base]
    KnownBases(farm.database).add(*before, *rollouts, *channels.values(), *_built_on(farm.database))
    images = tag_targets(farm.database)
    adopted.take(images)
    adopted.begin()
    log.info("images_taken_over", count=len(images))


def _built_on(database: Database) -> set[str]:
    """The bases of all builds in Redis: a farm that never set a channel has them nowhere else."""
    with database.failures():
        names = database.client.scan_iter(f"{database.key('build', '')}*", count=_SCAN_COUNT, _type="HASH")
        found = [str(database.client.hget(name, "base") or "") for name in names]
    return {text.split(" ")[2] for text in found if text.count(" ") >= 2}  # "attempt channel base", by claim.lua
