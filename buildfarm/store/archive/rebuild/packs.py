"""Makes the list of packs anew from the registry, after Redis or the registry came back without what it had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildfarm.errors import RegistryError
from buildfarm.model import place_of
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive.catalog import Catalog
from buildfarm.store.archive.pack import Index
from buildfarm.store.archive.plan import Shelved
from buildfarm.store.archive.rebuild.held import Held, Lost, Rebuilt, needed
from buildfarm.store.archive.rebuild.tags import RegistryTags
from buildfarm.store.archive.shelf import ARCHIVE, Shelf, repository_of
from buildfarm.store.tags import tag_targets

if TYPE_CHECKING:
    from buildfarm.oci.registry import Registry


@dataclass(frozen=True)
class Rebuild:
    """Can be repeated if it was cut short. Raises StoreError, and RegistryError if the registry cannot be reached.

    Without ``may_take`` (see `RegistryTags`) no newest image is taken from a tag.
    """

    catalog: Catalog
    registry: Registry
    may_take: Callable[[str, str], bool] | None

    def run(self) -> Rebuilt:
        """Lists every pack that the registry has, and forgets those that it lacks."""
        done = Rebuilt()
        # First, since an app whose packs are all lost is forgotten below.
        targets = tag_targets(self.catalog.database)
        done.without_image += self._without_image(targets)
        held = self._held(done)
        stale: dict[str, list[Held]] = {}
        for place in sorted({*held, *self.catalog.places()}):
            # Read after the registry: of packs that are joined meanwhile, the new one is in one of the two.
            known = {pack.manifest: pack for pack in self.catalog.packs(place)}
            here = held.get(place, {})
            lost = [pack for manifest, pack in known.items() if manifest not in here and self._is_gone(place, pack)]
            rest = [pack for manifest, pack in known.items() if manifest not in here and pack not in lost]
            readable = self._untagged(place, rest, done)
            here |= readable
            kept = self._list(place, list(here.values()), known, done)
            self._forget(place, lost, done)
            if lost and len(readable) == len(rest):
                stale[place] = kept
        self._forget_builds(stale)
        if self.may_take:
            RegistryTags(self.catalog.database, self.registry, targets, self.may_take).take(done, held)
        else:
            done.unread.append(
                "Tags of apps: Redis has images from before signing, or no signer has started with it yet."
            )
        return done

    def _forget_builds(self, stale: Mapping[str, Sequence[Held]]) -> None:
        """Forgets the other builds of these apps, if nobody has changed their packs meanwhile."""
        known = {
            place: {build_id for one in kept for build_id in one.ids}
            for place, kept in stale.items()
            if {pack.manifest for pack in self.catalog.packs(place)} == {one.pack.manifest for one in kept}
        }
        if known:
            self.catalog.forget_builds(known)

    def _without_image(self, targets: Mapping[str, str]) -> Iterator[str]:
        for target, digest in sorted(targets.items()):
            if not self.registry.has_manifest(place_of(target)[0], digest):
                yield target

    def _held(self, done: Rebuilt) -> dict[str, dict[Digest, Held]]:
        """The packs under a tag, by tenant/app."""
        found: dict[str, dict[Digest, Held]] = {}
        for repository in self.registry.repositories():
            if repository.startswith(ARCHIVE):
                for held in self._packs(repository, done):
                    if repository_of(held.place) == repository:
                        found.setdefault(held.place, {})[held.pack.manifest] = held
        return found

    def _packs(self, repository: str, done: Rebuilt) -> Iterator[Held]:
        shelf = Shelf(self.registry, repository)
        for tag in self._tags(repository):
            try:
                yield _held(shelf, *shelf.find(tag))
            except UnavailableError:
                raise
            except NotInRegistryError as error:
                # Its tag is deleted with it, so either it went meanwhile or the registry lost a part of it.
                if self.registry.has_manifest(repository, tag):
                    done.name(error)
            except RegistryError as error:
                done.name(error)

    def _tags(self, repository: str) -> list[str]:
        try:
            return list(self.registry.tags(repository))
        except NotInRegistryError:
            return []  # all of its manifests were deleted

    def _untagged(self, place: str, packs: Sequence[Shelved], done: Rebuilt) -> dict[Digest, Held]:
        """Packs that Redis knows, and the registry has without having listed them."""
        found: dict[Digest, Held] = {}
        shelf = Shelf(self.registry, repository_of(place))
        for pack in packs:
            try:
                found[pack.manifest] = _held(shelf, pack, shelf.index(pack))
            except UnavailableError:
                raise
            except RegistryError as error:
                done.name(error)
        return found

    def _is_gone(self, place: str, pack: Shelved) -> bool:
        return not self.registry.has_manifest(repository_of(place), pack.manifest)

    def _list(self, place: str, held: Sequence[Held], known: Mapping[Digest, Shelved], done: Rebuilt) -> list[Held]:
        """Lists what is held, and returns what of it is needed."""
        kept, taken_in = needed(held)
        for one in kept:
            self.catalog.add(place, one.pack, one.builds)
            done.packs += 1
            done.sources |= one.sources
            done.found += 0 if one.pack.manifest in known else one.pack.builds
        for one in taken_in:
            reference = f"{repository_of(place)} {one.pack.manifest}"
            if one.pack.manifest in known:
                self.catalog.remove(place, one.pack, (), reference)
            else:
                self.catalog.note_loose(reference)
        done.builds += len({build_id for one in kept for build_id in one.ids})
        return list(kept)

    def _forget(self, place: str, packs: Sequence[Shelved], done: Rebuilt) -> None:
        for pack in packs:
            self.catalog.forget(place, pack)
            done.lost.append(Lost(place, pack.builds, pack.first, pack.last))


def _held(shelf: Shelf, pack: Shelved, index: Index) -> Held:
    try:
        return Held.of(pack, index.rows)
    except ValueError as error:
        raise RegistryError(f"The index {shelf.repository}@{pack.index} cannot be read: {error}.") from error
