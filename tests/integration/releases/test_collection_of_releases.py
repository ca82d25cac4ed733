"""A real registry's collection keeps a release exactly as long as an image that names it, and what apps go back to."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from buildfarm.farm import Farm, open_farm
from buildfarm.gc.choose import Reason, Rules
from buildfarm.gc.collect import collect
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.releases.models import Rebase
from buildfarm.releases.rebases import Rebases
from buildfarm.releases.shelf import read_release, release_digest
from buildfarm.sources.address import ArtifactSource
from testkit.archive import SOURCE, Life
from testkit.registry.builder import push_builder, push_patched
from testkit.registry.own import registry_on, storage_folder
from workers.build_folder import BuildFolder
from workers.builder import Builder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent

REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64))
TARGET = REQUEST.repository
EAGER = Rules(images=0, grace_seconds=0)


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
        exporter.move_tag(TARGET, "latest", lambda: self.farm.records.tag_target(TARGET))
        return exported.image.digest

    def release_of(self, image: str) -> str:
        return release_digest(self.farm.registry.read_manifest(TARGET, image)[0])

    def collect(self) -> None:
        bases = dict.fromkeys((base.partition("@")[2] for base in self.bases), Reason.RECORD)
        used = FarmGarbage(self.farm.history, self.farm.settings, ()).used() | bases
        collect(self.storage, used, EAGER, really=True, settle_seconds=0)

    def there(self, *digests: str) -> list[bool]:
        return [self.farm.registry.has_manifest(TARGET, digest) for digest in digests]


@pytest.fixture
def place(services, settings, tmp_path):
    with storage_folder() as folder, registry_on(folder, services.docker_url) as registry:
        own = settings.model_copy(update={"registry_url": f"http://{registry.host}", "builder": ""})
        small, labels = push_builder(registry), {"buildfarm.platform": "2"}
        first, second = (
            push_patched(registry, small, {"patch": created}, created, Labels=labels)
            for created in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        )
        with open_farm(own) as farm:
            yield Place(farm, Storage(folder), (first, second), tmp_path / "app")


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
