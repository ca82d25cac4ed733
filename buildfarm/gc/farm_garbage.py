"""The garbage of a farm's registry: what the farm needs of it, and a collection whose result the farm keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from buildfarm.errors import RegistryError, SetupError
from buildfarm.gc.choose import Reason, Rules
from buildfarm.gc.collect import Budget, collect
from buildfarm.gc.memory import Kept, claim, remember, take_over
from buildfarm.gc.result import Collected
from buildfarm.gc.retention import DAY, digest_of, effective
from buildfarm.gc.rules import rules_with
from buildfarm.gc.storage import Storage
from buildfarm.oci.registry import Registry
from buildfarm.releases.rebases import Moves, Rebases
from buildfarm.releases.rollouts.store import digests_of_rollouts, pause_rollouts
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.settings import Settings
from buildfarm.store import BuildpackOrder, Database, Nodes
from buildfarm.store.archive import History
from buildfarm.store.archive.audit.parts import AuditParts
from buildfarm.store.archive.rebuild.held import Rebuilt
from buildfarm.store.archive.rebuild.packs import Rebuild
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.marks import Marks
from buildfarm.store.keeping.policies import Policies
from buildfarm.store.keeping.running import ImagesInUse
from buildfarm.store.keeping.usage import Usage
from buildfarm.store.records import digests_in
from buildfarm.store.tags import tag_targets
from buildfarm.telemetry import logger

_DISK_SECONDS = 2 * 3600.0  # a CronJob reports once an hour


@dataclass(frozen=True)
class FarmGarbage:
    """The garbage of one farm. ``images`` are those that the farm itself runs on, as repository@digest."""

    history: History
    settings: Settings
    images: Collection[str]

    @property
    def database(self) -> Database:
        """The farm's Redis."""
        return self.history.records.database

    def used(self, listed: Collection[str] = (), *, remember: bool = False) -> dict[str, Reason]:
        """The digests that something outside of the registry names, and records in its archive.

        ``listed`` are images by digest or reference. With ``remember`` the sources of running images are known when
        their records have ended. Raises StoreError, RequestError for what is not an image's digest, and RegistryError
        if the archive cannot be read: images of its builds would go.
        """
        listed = {digest_of(image) for image in (*listed, *_read_list(self.settings.in_use_file))}
        own = {reference.rpartition("@")[2] for reference in self.images} - {""}
        own = own.union(*map(digests_in, BuildpackOrder(self.database).get()))
        own |= {str(part.manifest) for part in AuditParts(self.database).all()} | digests_of_rollouts(self.database)
        # A node builds on a channel's earlier base until it has the new one.
        own |= {base for node in Nodes(self.database).all() for base in (node.builder, *node.builders) if base}
        reports = ImagesInUse(self.database)
        running = reports.digests()
        # A moved image has no record of its own: that of its build names the source.
        moves = Moves.of(Rebases(self.database).all())
        built = {image: moves.origin(image) for image in (*running, *listed)}
        recorded, sources = self.history.named(self._record_seconds(), {*built, *built.values()})
        sources = {image: sources[build] for image, build in built.items() if build in sources} | sources
        running |= reports.sources({*running, *listed}, sources, remember=remember)
        named = dict.fromkeys(listed, Reason.LISTED) | dict.fromkeys(recorded | own | moves.previous, Reason.RECORD)
        return named | dict.fromkeys(running, Reason.RUNNING)

    def _record_seconds(self) -> Callable[[str], float]:
        """How long the record of a build of a tenant/app counts, in the archive as in Redis."""
        values = Policies(self.database).all()
        return lambda place: effective(self.settings, values, *place.split("/", 1)).record_days * DAY

    def rules(self) -> Rules:
        """What stays beside these, by the settings and the policies that were set. Raises StoreError."""
        return rules_with(self.settings, Policies(self.database).all())

    def collect(
        self, storage: Storage, rules: Rules, budget: Budget, *, listed: Collection[str] = (), adopt: bool = False
    ) -> Collected:
        """Remove what may go. With ``adopt`` the registry becomes this farm's. Raises SetupError too.

        What Redis no longer knows is then taken from the registry first: the archive, and reports of running images.
        """
        usage = Usage(self.database)
        with storage.failures():
            with storage.locked():  # another collection changes the mark in Redis and in the files, one after the other
                claim(storage, self.database, adopt=adopt)
            if adopt:
                self.adopt(storage, listed)
            counted = usage.uncorrected()
            used = self.used(listed, remember=True)
            with storage.locked():
                if not adopt:
                    claim(storage, self.database, adopt=False)  # meanwhile Redis may have become another one
                remember(storage, self.database)
            done = collect(storage, used, rules, really=True, budget=budget)
            usage.correct(done.usage, counted)
            usage.put_disk(*storage.disk(), _DISK_SECONDS)
        Collections(self.database).ended(encode(done))
        return done

    def adopt(self, kept: Kept, listed: Collection[str]) -> None:
        """Take from the registry what Redis no longer knows. Raises as `rebuild` does, also if a pack is damaged."""
        rebuilt = self.rebuild(take_over(kept, ImagesInUse(self.database)).sources, listed)
        _tell(rebuilt)
        _refuse_damaged(rebuilt)

    def rebuild(self, sources: Mapping[str, str] = MappingProxyType({}), listed: Collection[str] = ()) -> Rebuilt:
        """Lists the archive's packs anew from the registry, and keeps the sources of the images that run.

        Rollouts that move are paused, since they may be older than what has moved. The newest images of apps that Redis
        has lost are those of the registry's tags.
        ``sources`` are some that were known before. The next collection must adopt the registry: Redis may have been
        restored, and not know all images that run. Raises StoreError and RegistryError, and ConflictError if a rollout
        cannot be paused.
        """
        Marks(self.database).hold()
        paused = pause_rollouts(self.database, "archive rebuild", "Redis or the registry was restored from a copy")
        registry = self.history.registry()
        done = Rebuild(self.history.catalog, registry, self._may_take(registry)).run()
        done.paused += paused
        in_use = ImagesInUse(self.database)
        running = {*in_use.digests(), *map(digest_of, (*listed, *_read_list(self.settings.in_use_file)))}
        known = {**done.sources, **sources}
        in_use.sources(running, {image: source for image, source in known.items() if source}, remember=True)
        return done

    def _may_take(self, registry: Registry) -> Callable[[str, str], bool] | None:
        """Which images of the registry's tags can become newest images."""
        if not self.settings.signs:
            return lambda target, image: True
        if not Adopted(self.database).begin_without(tag_targets(self.database)):
            return None
        return AppTags(registry, self.history.records).is_signed

    def look(self, storage: Storage, rules: Rules, budget: Budget, *, listed: Collection[str] = ()) -> Collected:
        """What a collection would remove. Raises as `used` does, and SetupError."""
        with storage.failures():
            return collect(storage, self.used(listed), rules, really=False, budget=budget)


def _refuse_damaged(rebuilt: Rebuilt) -> None:
    """Images that only the records in a damaged pack name would go."""
    if rebuilt.damaged:
        raise RegistryError(
            rebuilt.damaged[0],
            advice="Restore it; or, if it is lost for good, delete its tag over the registry's API. Then adopt again.",
        )


def _read_list(path: Path | None) -> list[str]:
    """The images in a file. Raises SetupError: without it, running images could go."""
    try:
        return path.read_text().split() if path else []
    except OSError as error:
        raise SetupError(
            f"{path}, which lists the images in use, cannot be read: {error.strerror}.",
            advice="Correct BUILDFARM_IN_USE_FILE; nothing is collected without it.",
        ) from error


def _tell(done: Rebuilt) -> None:
    lost = sum(pack.builds for pack in done.lost)
    logger().info("archive_rebuilt", builds=done.builds, packs=done.packs, found=done.found, lost=lost)
    for rollout_id in done.paused:
        logger().warning("rollout_paused", rollout=rollout_id)
    for sentence in done.damaged:
        logger().warning("pack_damaged", reason=sentence)
    for sentence in done.unread:
        logger().warning("tag_unread", reason=sentence)
    logger().info("tags_taken_over", count=len(done.tags))


def encode(done: Collected) -> Mapping[str, object]:
    """A result as JSON has it."""
    return dataclasses.asdict(done)
