"""Policies of retention and images in use, in Redis and over the API, and what a collection makes of them."""

from __future__ import annotations

import hashlib
import time

import pytest

from buildfarm.errors import RequestError, SetupError
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest, BuildResult
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource, GitSource
from buildfarm.store import Leases
from buildfarm.store.keeping.running import ImagesInUse
from testkit.registry.disk import Disk

DAY = 86400.0
SOURCE = GitSource(url="https://git.example.org/a.git", ref="main")


def digest_of(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path, time.time()).make()


def collect(farm, disk):
    garbage = FarmGarbage(farm.history, farm.settings, ())
    done = garbage.look(Storage(disk.root), garbage.rules(), Budget())
    everything = list(Storage(disk.root).manifests())
    assert done.manifests + done.kept_manifests == len(everything)
    return done


def kept(done):
    return {reason: share.manifests for reason, share in done.kept.items() if share.manifests}


def test_a_running_image_is_never_removed_while_its_report_counts(farm, disk):
    images = [disk.manifest("apps/shop/web", age=30 * DAY - number, text=str(number)) for number in range(20)]
    farm.set_retention("shop", images=1, image_days=0)
    assert kept(collect(farm, disk)) == {"newest": 1}
    report = farm.report_in_use([f"apps/shop/web@{images[0]}", images[5]], days=2, reporter="host-1")
    farm.report_in_use([images[6]], reporter="host-2")
    assert kept(collect(farm, disk)) == {"running": 3, "newest": 1}
    assert report.until == pytest.approx(time.time() + 2 * DAY, abs=60)
    farm.report_in_use([images[7]], reporter="host-1")  # replaces
    assert {image for one in farm.images_in_use() for image in one.images} == {images[6], images[7]}
    ImagesInUse(farm.database).report("host-2", [images[6]], 1e-6)
    farm.report_in_use([], reporter="host-1")
    assert farm.images_in_use() == []
    assert kept(collect(farm, disk)) == {"newest": 1}


def test_policies_are_of_tenants_and_apps(farm, disk):
    for app in ("web", "api"):
        for number in range(6):
            disk.manifest(f"apps/shop/{app}", age=40 * DAY - number, text=f"{app} {number}")
    for number in range(4):
        disk.manifest("sources/shop", age=(number + 1) * DAY, text=f"source {number}")
        disk.manifest(f"caches/shop/app-{number}", tags=["cache"], age=(number + 1) * DAY, text=f"cache {number}")
    farm.set_retention("shop", images=2, sources=1, source_days=0, cache_days=2.5)
    farm.set_retention("shop", "api", images=4)
    assert farm.retention("shop", "api").images == 4
    assert farm.retention_set()["shop/api:images"] == 4
    assert kept(collect(farm, disk)) == {"newest": 2 + 4 + 1, "age": 2}
    farm.set_retention("shop", "api", images=None)
    assert farm.retention("shop", "api").images == 2


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


def result_of(digest, app="web"):
    return BuildResult(
        repository=f"apps/shop/{app}", digest=Digest(digest), tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds={}, node="n", attempt=1,
    )  # fmt: skip


def ended(farm, leases, app):
    """A build that succeeded with another image than all others."""
    build = farm.submit(BuildRequest(tenant="shop", app=app, source=SOURCE, run_policy="all"))
    leases.succeed(leases.claim(build.id, "n"), result_of(digest_of(build.id), app))
    return farm.get(build.id)


def test_a_policy_that_would_delete_running_images_is_refused(farm, leases):
    builds = [ended(farm, leases, "web") for _ in range(3)]
    oldest, newest = builds[0].result.digest, builds[-1].result.digest
    farm.report_in_use([str(oldest), str(newest)])
    with pytest.raises(RequestError, match=r"would delete 1 running images of shop/web"):
        farm.set_retention("shop", images=2, image_days=0)
    with pytest.raises(RequestError, match="shop/web"):
        farm.set_retention("shop", "web", images=0, image_days=0)
    assert farm.retention_set() == {}
    farm.set_retention("shop", images=3, image_days=0)
    farm.set_retention("shop", "other", images=0, image_days=0)
    farm.report_in_use([])
    farm.set_retention("shop", images=2)


def test_a_file_of_running_images_that_is_missing_stops_the_collection(farm, disk, tmp_path):
    settings = farm.settings.model_copy(update={"in_use_file": tmp_path / "running"})
    garbage = FarmGarbage(farm.history, settings, ())
    with pytest.raises(SetupError, match="lists the images in use, cannot be read"):
        garbage.used()
    (tmp_path / "running").write_text(f"{digest_of('a')}\n")
    assert garbage.used() == {digest_of("a"): "listed"}
    (tmp_path / "running").write_text(f"apps/shop/web@{digest_of('b')}\n")  # as an orchestrator prints it
    assert garbage.used() == {digest_of("b"): "listed"}
    (tmp_path / "running").write_text("apps/shop/web:latest\n")
    with pytest.raises(RequestError, match="'apps/shop/web:latest' does not name an image by its digest"):
        garbage.used()


def test_records_end_by_the_policy_of_their_app(farm, leases):
    farm.set_retention("shop", record_days=2)
    farm.set_retention("shop", "web", records=2)
    builds = [ended(farm, leases, "web") for _ in range(4)]
    left = [farm.database.client.ttl(farm.database.key("build", build.id)) for build in builds]
    assert [seconds <= 60 for seconds in left] == [True, True, False, False]
    assert left[-1] == pytest.approx(2 * DAY, abs=60)


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (["apps/shop/web:latest"], {}, "does not name an image by its digest"),
        ([], {"days": 0}, "more than 0"),
        ([], {"days": 91}, "at most 90 days"),
        ([], {"reporter": "a b"}, "not a valid name of a reporter"),
        ([digest_of(str(number)) for number in range(801)], {}, "at most 800 images"),
    ],
)
def test_what_is_not_a_report(farm, images, options, said):
    with pytest.raises(RequestError, match=said):
        farm.report_in_use(images, **options)


def test_the_source_of_a_running_image_stays_also_without_its_record(farm, leases, disk):
    source = disk.manifest("sources/shop", age=90 * DAY, text="source")
    disk.manifest("sources/shop", age=90 * DAY, text="another")
    build = farm.submit(
        BuildRequest(tenant="shop", app="web", source=ArtifactSource(repository="sources/shop", digest=Digest(source)))
    )
    image = disk.manifest("apps/shop/web", age=90 * DAY, text="image")
    leases.succeed(leases.claim(build.id, "n"), result_of(image))
    farm.set_retention("shop", images=0, image_days=0)
    assert kept(collect(farm, disk)) == {"record": 1}
    farm.report_in_use([image])
    assert kept(collect(farm, disk)) == {"running": 2}
    assert farm.database.client.exists(farm.database.key("running-sources")) == 0  # a dry run changes nothing
    FarmGarbage(farm.history, farm.settings, ()).used(remember=True)
    farm.database.client.delete(farm.database.key("build", build.id))
    assert kept(collect(farm, disk)) == {"running": 2}
    farm.report_in_use([])
    assert kept(collect(farm, disk)) == {}
