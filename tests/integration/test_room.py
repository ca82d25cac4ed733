"""A tenant's limit in the registry and a full disk: who is refused, who is not, and what is counted."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
import uuid

import pytest

from buildfarm.errors import RegistryFullError, StorageLimitError
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest
from buildfarm.sources.address import GitSource
from buildfarm.store.keeping.usage import Usage
from testkit.builds import write_files
from testkit.registry.disk import Disk

MB = 1_000_000
GIT = GitSource(url="https://git.example.org/a.git", ref="main")


@pytest.fixture
def tenant():
    return f"t{uuid.uuid4().hex[:8]}"


def archive(size):
    """A packed source that does not compress."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        item = tarfile.TarInfo("app/data")
        item.size = size
        file.addfile(item, io.BytesIO(os.urandom(size)))
    packed = gzip.compress(buffer.getvalue(), 1)
    return [packed[start : start + 65536] for start in range(0, len(packed), 65536)]


def test_a_tenant_uploads_until_its_limit_and_others_go_on(farm, tenant):
    farm.set_limits(tenant, bytes=5 * MB)
    for _ in range(3):
        farm.take_source(tenant, archive(2 * MB))
    with pytest.raises(StorageLimitError, match=r"has 6.0 MB in the registry; its limit is 5.0 MB") as refused:
        farm.take_source(tenant, archive(1000))
    assert "sources" in refused.value.message.splitlines()[1]
    with pytest.raises(StorageLimitError):
        farm.submit(BuildRequest(tenant=tenant, app="a", source=GIT))
    other = f"{tenant}x"
    farm.take_source(other, archive(1000))
    assert farm.submit(BuildRequest(tenant=other, app="a", source=GIT)).id
    farm.set_limits(tenant, bytes=50 * MB)
    farm.take_source(tenant, archive(1000))


def test_a_build_that_was_accepted_is_found_again_beyond_the_limit(farm, tenant):
    request = BuildRequest(tenant=tenant, app="a", source=GIT, idempotency_key="one")
    build = farm.submit(request)
    Usage(farm.database).add(tenant, "apps", 1000)
    farm.set_limits(tenant, bytes=1)
    assert farm.submit(request).id == build.id
    with pytest.raises(StorageLimitError):
        farm.submit(request.model_copy(update={"idempotency_key": "two"}))


def test_a_large_source_is_refused_on_its_way_and_is_not_counted(farm, tenant):
    farm.set_limits(tenant, bytes=10 * MB)
    with pytest.raises(StorageLimitError):
        farm.take_source(tenant, archive(30 * MB))
    assert farm.usage(tenant)["sources"] == 0


def test_uploads_side_by_side_do_not_pass_the_limit(farm, tenant):
    farm.set_limits(tenant, bytes=20 * MB)
    results = []

    def send():
        try:
            results.append(farm.take_source(tenant, archive(12 * MB))[1])
        except StorageLimitError:
            results.append(0)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(results) <= 20 * MB + 4 * 4 * 1024 * 1024
    assert farm.usage(tenant)["sources"] == sum(results)


def test_a_source_that_is_there_already_counts_once(farm, tenant):
    pieces = archive(MB)
    for _ in range(3):
        _, size = farm.take_source(tenant, pieces)
    assert farm.usage(tenant)["sources"] == size


def test_a_full_disk_refuses_uploads_first_then_builds(farm, tenant):
    usage = Usage(farm.database)
    usage.put_disk(89, 100, 60)
    farm.take_source(tenant, archive(1000))
    usage.put_disk(90, 100, 60)
    with pytest.raises(RegistryFullError, match="no new sources: the registry's disk is 90% full"):
        farm.take_source(tenant, archive(1000))
    assert farm.submit(BuildRequest(tenant=tenant, app="a", source=GIT)).id
    usage.put_disk(96, 100, 60)
    with pytest.raises(RegistryFullError, match="no new builds"):
        farm.submit(BuildRequest(tenant=tenant, app="b", source=GIT))
    usage.put_disk(50, 100, 60)
    farm.take_source(tenant, archive(1000))


def test_a_collection_corrects_what_was_counted(farm, tenant, tmp_path):
    disk = Disk(tmp_path, 2e9).make()
    usage = Usage(farm.database)
    usage.add(tenant, "apps", 10**9)
    usage.add("gone", "caches", 10**9)
    layer = disk.blob(b"l" * 5000)
    disk.manifest(f"apps/{tenant}/web", [layer], ["latest"])
    garbage = FarmGarbage(farm.history, farm.settings, ())
    garbage.collect(Storage(tmp_path), garbage.rules(), Budget())
    assert 5000 < farm.usage(tenant)["apps"] < 6000
    assert farm.usage("gone") == {"sources": 0, "caches": 0, "apps": 0, "archive": 0}
    usage.add(tenant, "apps", 7)
    before = farm.usage(tenant)["apps"]
    garbage.collect(Storage(tmp_path), garbage.rules(), Budget())
    assert farm.usage(tenant)["apps"] == before - 7
    assert 0 < usage.standing(tenant).disk_share < 1


def test_a_build_counts_what_it_uploads(built, tmp_path):
    app = write_files(tmp_path / "app", {"Procfile": "web: cat data\n", "data": "x" * 5000})
    build = built(app, buildpacks=("procfile",))
    assert build.state == "succeeded"
    used = built.farm.usage(built.tenant)
    assert used["apps"] == build.result.uploaded_bytes > 0
    assert used["sources"] > 0
