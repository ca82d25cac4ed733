"""Collections beside tags that move and images that are signed: ``python -m verify.images.races``, on a real registry.

What a collection takes away must go whole: an image together with its signatures and statements. RACES=20 for fewer.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from buildfarm.errors import RegistryError
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import collect
from buildfarm.gc.result import Collected
from buildfarm.gc.storage import Storage, Stored
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import referrers, simple
from buildfarm.oci.signatures.attaching import Attaching, Unsigned
from testkit.table import Claims
from verify.images.signatures import REPOSITORY, Keys, provenance, push, services

_T = TypeVar("_T")

RACES = 100
EAGER = Rules(images=0, source_seconds=0, grace_seconds=0)  # whatever has no tag goes at once
_SETTLE_SECONDS = 1.0
_PAUSE_SECONDS = 1.1  # up to this long, so that races meet every moment of a collection
_TRIES = 20  # a grace of nothing takes blobs away that have just been sent
_REFERRERS = 4  # of an image: the signatures, their index, and two bundles


@dataclass
class Collecting:
    """Collections one after another, until it is ended."""

    storage: Storage
    results: list[Collected] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """The thread."""
        while not (self._stop.is_set() or self.failures):
            try:
                self.results.append(collect(self.storage, (), EAGER, really=True, settle_seconds=_SETTLE_SECONDS))
            except Exception as error:  # noqa: BLE001 - raised at the end of the block
                self.failures.append(error)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Beside the block; afterwards none runs."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self.failures:
            raise self.failures[0]


@dataclass(frozen=True)
class Race:
    """One farm's registry, in which images lose their tags and get them again."""

    registry: Registry
    attaching: Attaching
    storage: Storage
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def image(self, text: str) -> Unsigned:
        """A new image, under a tag."""
        return again(lambda: push(self.registry, text))

    def sign(self, image: Unsigned) -> None:
        """With its provenance, as the signer does it."""
        self.attaching.sign(image, is_new=True, more=[provenance(self.registry.host, image)])

    def tag(self, image: Unsigned, tag: str) -> None:
        """As the signer does it, after the signature."""
        media_type, content, _ = self.registry.get_manifest(REPOSITORY, image.subject.digest)
        self.registry.put_manifest(REPOSITORY, content, media_type, tag=tag)

    def untag(self, image: Unsigned, tag: str) -> None:
        """The tag moves on, as with each deploy: the image is not named any more."""
        (self.storage.folder(REPOSITORY) / "_manifests" / "tags" / tag / "current" / "link").unlink()

    def roll_back(self, image: Unsigned, tag: str) -> None:
        """The tag moves to the image again, as `AppTags` does it: only if it is signed."""
        with suppress(RegistryError):  # it is gone, and a rollback to it is refused
            media_type, content, _ = self.registry.get_manifest(REPOSITORY, image.subject.digest)
            if self.registry.has_manifest(REPOSITORY, simple.tag_of(image.subject.digest)):
                self.registry.put_manifest(REPOSITORY, content, media_type, tag=tag)

    def pause(self) -> None:
        """For some part of a collection."""
        time.sleep(self.dice.uniform(0, _PAUSE_SECONDS))


def main(races: int) -> None:
    """Prints the table of claims."""
    claims = Claims("Collections of signed images")
    with tempfile.TemporaryDirectory() as folder, services() as (path, registry):
        race = Race(registry, Attaching(registry, [Keys(Path(folder)).make("farm")]), Storage(path))
        race.image("first")  # a registry without anything has no files
        tags_that_come_back(claims, race, races)
        images_that_are_signed(claims, race, races)
    claims.finish()


def tags_that_come_back(claims: Claims, race: Race, races: int) -> None:
    """Signed images lose their tag; every other one gets it again while a collection takes it away."""
    collecting = Collecting(race.storage)
    images: list[Unsigned] = []
    with collecting.running():
        for number in range(races):
            tag = f"back-{number}"
            image = race.image(tag)
            again(partial(race.sign, image))
            images.append(image)
            race.untag(image, tag)
            race.pause()
            if number % 2:
                race.roll_back(image, tag)
    torn, whole, gone = divided(race, images)
    removed = sum(found.manifests for found in collecting.results)
    claims.add(
        f"{races} races of a collection with a tag that moves back: an image and its referrers stay or go together",
        f"{whole} stayed, {gone} went, {len(torn)} torn apart{told(torn)}; {len(collecting.results)} collections "
        f"removed {removed} manifests",
        not torn and bool(whole) and bool(gone),
    )


def images_that_are_signed(claims: Claims, race: Race, races: int) -> None:
    """Images without a tag are signed and tagged while a collection takes them away; what is refused begins anew."""
    collecting, images, anew = Collecting(race.storage), list[Unsigned](), 0
    with collecting.running():
        for number in range(races):
            for attempt in range(_TRIES):
                tag = f"signed-{number}-{attempt}"
                image = race.image(tag)
                race.untag(image, tag)
                race.pause()
                with suppress(RegistryError):
                    race.sign(image)
                    race.tag(image, tag)
                    images.append(image)
                    break
                anew += 1  # as a build that is tried again
    collect(race.storage, (), EAGER, really=True, settle_seconds=0)
    torn, whole, _ = divided(race, images)
    alone = without_image(race.storage)
    claims.add(
        f"{races} races of a collection with the signer: an image with a tag has its referrers, no other has any",
        f"{whole} whole, {len(torn)} torn apart{told(torn)}, {len(alone)} referrers alone; {anew} began anew, "
        f"{len(collecting.results)} collections",
        not torn and not alone and whole == races,
    )


def again(push: Callable[[], _T]) -> _T:
    """A push that the registry refuses, since a collection takes its blobs away, is tried again."""
    for _ in range(_TRIES):
        with suppress(RegistryError):
            return push()
    return push()


def divided(race: Race, images: list[Unsigned]) -> tuple[list[str], int, int]:
    """What is missing of images of which not all is there; and how many are there, and gone, as a whole."""
    torn, whole, gone = [], 0, 0
    for image in images:
        found = parts_of(race.registry, image)
        if all(found.values()):
            whole += 1
        elif any(found.values()):
            torn.append(f"{image.reference} lacks {', '.join(name for name, there in found.items() if not there)}")
        else:
            gone += 1
    return torn, whole, gone


def parts_of(registry: Registry, image: Unsigned) -> dict[str, bool]:
    """Whether each part of an image can be read: itself, the signatures and the listed bundles, with their blobs."""
    digest = image.subject.digest
    parts = {
        "the image": _reads(registry, digest),
        "signatures": _reads(registry, simple.tag_of(digest)),
        "the index": False,
        "bundles": False,
    }
    with suppress(NotInRegistryError):
        _, index, _ = registry.get_manifest(REPOSITORY, referrers.tag_of(digest))
        listed = [str(entry["digest"]) for entry in referrers.listed(index)]
        parts["the index"] = True
        parts["bundles"] = len(listed) == _REFERRERS - 2 and all(_reads(registry, one) for one in listed)
    return parts


def _reads(registry: Registry, reference: str) -> bool:
    """A manifest, and all blobs that it names."""
    try:
        manifest, _ = registry.read_manifest(REPOSITORY, reference)
        for part in (manifest.config, *manifest.layers):
            registry.read_blob(REPOSITORY, part.digest)
    except NotInRegistryError:
        return False
    return True


def without_image(storage: Storage) -> list[Stored]:
    """Referrers whose image is not there."""
    there = {item.digest: item for item in storage.manifests() if item.repository == REPOSITORY}
    return [item for item in there.values() if item.subject and item.subject not in there]


def told(torn: list[str]) -> str:
    """The first of them."""
    return f" ({torn[0]})" if torn else ""


if __name__ == "__main__":
    main(int(os.environ.get("RACES") or RACES))
