"""A real registry's collection keeps a release exactly as long as an image that names it, and what apps go back to."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from buildfarm.farm import Farm, open_farm
from buildfarm.gc.choose import Reason, Rules
from buildfarm.gc.collect import Budget, collect
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.over_api.garbage import ListedGarbage
from buildfarm.gc.over_api.listing import Listing
from buildfarm.gc.result import Collected
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.shelf import read_release, release_digest
from buildfarm.sources.address import ArtifactSource
from testkit.archive import SOURCE, Life
from testkit.registry.builder import push_builder, push_patched
from testkit.registry.own import own_collector, registry_on, storage_folder
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent

REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64))
TARGET = REQUEST.repository
EAGER = Rules(images=0, grace_seconds=0)
RACES = 4


class Known(dict):
    put = dict.__setitem__


@dataclass(frozen=True)
class Place:
    """A farm with a registry of its own, two bases, and what a collection of it does."""

    farm: Farm
    storage: Storage
    bases: tuple[str, str]
    folder: object

    def deploy(self, code: str) -> str:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "code").write_text(code)
        repository, _, digest = self.bases[0].partition("@")
        manifest, found = self.farm.registry.read_manifest(repository, digest)
        content = self.farm.registry.read_blob(repository, manifest.config.digest)
        exporter = Exporter(self.farm.registry, "gzip", 2, "docker", 10**8, 10**5, 8, Known(), Recent())
        exported = exporter.export(
            BuildFolder(self.folder), Builder("", repository, found, manifest, content), REQUEST,
            source_names={"app/code"}, process_types={"web": "x"}, variables={}, labels=lambda _: {},
        )  # fmt: skip
        self.farm.database.client.hset(self.farm.database.key("tags"), TARGET, exported.image.digest)
        self.farm.registry.move_tag(TARGET, "latest", lambda: self.farm.records.tag_target(TARGET), exporter.sent)
        return exported.image.digest

    def release_of(self, image: str) -> str:
        return release_digest(self.farm.registry.read_manifest(TARGET, image)[0])

    def collect(self) -> None:
        bases = dict.fromkeys((base.partition("@")[2] for base in self.bases), Reason.RECORD)
        used = FarmGarbage(self.farm.history, self.farm.settings, ()).used() | bases
        collect(self.storage, used, EAGER, really=True, settle_seconds=0)

    def there(self, *digests: str) -> list[bool]:
        return [self.farm.registry.has_manifest(TARGET, digest) for digest in digests]


@dataclass(frozen=True)
class ListedPlace(Place):
    """The same without the registry's files."""

    collector: Callable[..., str]
    settle_seconds: float = 0

    def collect(self) -> Collected:
        return self.collect_listed(self.listing())

    def collect_listed(self, listing: Listing) -> Collected:
        # As the command does: distribution answers 500 to a GET of a manifest that is written again at that moment.
        history = replace(self.farm.history, registry=lambda: self.farm.registry)
        garbage = FarmGarbage(history, self.farm.settings, self.bases)
        return ListedGarbage(garbage, listing, self.settle_seconds).collect(EAGER, Budget())

    def listing(self) -> Listing:
        path = self.folder.with_name("listing")
        path.write_text(f"# {time.time() - 100:.0f}\n{self.collector('--dry-run')}")
        return Listing.read(path)


@pytest.fixture(params=[Place, ListedPlace], ids=["files", "listing"])
def place(services, settings, tmp_path, request):
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    with storage_folder() as folder, registry_on(folder, services.docker_url, name) as registry:
        own = settings.model_copy(update={"registry_url": f"http://{registry.host}", "builder": ""})
        small, labels = push_builder(registry), {"buildfarm.platform": "2"}
        first, second = (
            push_patched(registry, small, {"patch": created}, created, Labels=labels)
            for created in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        )
        with open_farm(own) as farm:
            more = (own_collector(services.docker_url, name),) if request.param is ListedPlace else ()
            yield request.param(farm, Storage(folder), (first, second), tmp_path / "app", *more)


def test_a_release_lives_as_long_as_an_image_that_names_it(place):
    first = place.deploy("1")
    release = place.release_of(first)
    second = place.deploy("2")
    place.collect()
    assert place.there(first, release, second, place.release_of(second)) == [False, False, True, True]
    manifest, _ = place.farm.registry.read_manifest(TARGET, second)
    assert read_release(place.farm.registry, TARGET, manifest).layers[-1].blob == manifest.layers[-1]


def test_a_moved_app_can_go_back_and_older_images_go(place):
    built = place.deploy("1")
    moved = place.farm.rebase("t", "a", base=place.bases[1])
    place.collect()
    release = place.release_of(moved.image)
    assert place.there(moved.image, built, release) == [True] * 3
    assert place.farm.rebase("t", "a", base=place.bases[0], older=True).image == built
    newer = place.deploy("2")
    place.collect()
    # The image before the newest move stays, and with it the release of both; the other one goes.
    assert place.there(newer, moved.image, release, built) == [True, True, True, False]
    again = place.farm.rebase("t", "a", base=place.bases[1])
    place.collect()
    assert place.there(again.image, newer, place.release_of(newer), moved.image, release) == [True] * 3 + [False] * 2


@pytest.mark.parametrize("place", [ListedPlace], ids=["listing"], indirect=True)
def test_the_registrys_own_collector_keeps_what_a_collection_by_listing_kept(place):
    built = place.deploy("1")
    moved = place.farm.rebase("t", "a", base=place.bases[1])
    lost = place.deploy("lost")
    again = place.deploy("2")
    assert place.collect().manifests == 3  # and the release of what is lost, and an older memory
    place.collector()  # the registry is idle, as it is while it is read-only
    assert place.there(lost) == [False]
    registry = place.farm.registry
    for image in (again, moved.previous):
        manifest, _ = registry.read_manifest(TARGET, image)
        found = read_release(registry, TARGET, manifest)
        assert [registry.has_blob(TARGET, layer.blob.digest) for layer in found.layers] == [True] * len(found.layers)
    assert built == moved.previous


@pytest.mark.parametrize("place", [ListedPlace], ids=["listing"], indirect=True)
def test_a_deploy_beside_a_collection_by_listing_is_whole(place, record_property):
    """Each deploys again what lies in the registry as garbage: its image, its release and all of their blobs."""
    chance, put_back = random.Random(30), 0
    with ThreadPoolExecutor(1) as side:
        for _ in range(RACES):
            image = place.deploy("the same again")
            started = time.monotonic()
            place.deploy("another")
            # A deploy beside the collection must take less, also on a busy machine.
            place = replace(place, settle_seconds=max(0.5, 5 * (time.monotonic() - started)))
            collecting = side.submit(place.collect_listed, place.listing())
            time.sleep(chance.uniform(0, 0.3))  # so that deploys meet every moment of a collection
            assert place.deploy("the same again") == image
            put_back += collecting.result().put_back
            manifest, _ = place.farm.registry.read_manifest(TARGET, image)
            assert read_release(place.farm.registry, TARGET, manifest).layers[-1].blob == manifest.layers[-1]
    record_property("seen", f"{put_back} manifests of {RACES} deploys were deleted and put back")


@pytest.mark.parametrize("place", [ListedPlace], ids=["listing"], indirect=True)
def test_a_release_whose_image_came_too_late_for_a_collection_comes_back_with_the_next(place):
    image = place.deploy("slow")
    media_type, manifest, _ = place.farm.registry.get_manifest(TARGET, image)
    release = place.release_of(image)
    place.deploy("another")
    place.collect()
    assert place.there(image, release) == [False, False]
    place.farm.registry.put_manifest(TARGET, manifest, media_type, tag=None)
    place.farm.database.client.hset(place.farm.database.key("tags"), TARGET, image)
    assert place.collect().recovered == 1
    assert place.there(image, release) == [True, True]


def test_the_source_of_a_moved_image_that_runs_stays(farm):
    life = Life(farm)
    build = farm.get(life.end("a"))
    image = Digest.of(b"the image on another base")
    target = f"apps/{life.tenant}/a"
    farm.database.client.hset(farm.database.key("tags"), target, build.result.digest)
    entry = Rebase(at=1, image=image, previous=build.result.digest, base="b@x", previous_base="", moved=True)
    assert Rebases(farm.database).move(target, entry) == image
    garbage = FarmGarbage(farm.history, farm.settings, ())
    assert SOURCE.digest not in garbage.used()
    farm.report_in_use([image])
    used = garbage.used(remember=True)
    assert used[SOURCE.digest] is used[image] is Reason.RUNNING
    assert farm.records.tag_target(target) == image
