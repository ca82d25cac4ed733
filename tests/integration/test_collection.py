"""Collections of a real registry's garbage, with the local farm's own configuration, beside pushes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from buildfarm.api.collector import collection
from buildfarm.errors import RegistryError, SetupError
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import Budget, collect
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.files.trash import left_over
from buildfarm.gc.storage import Storage
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.store import Nodes
from buildfarm.store.keeping.collections import Collections
from testkit.builds import repeats, wait_for
from testkit.registry.disk import Disk
from testkit.registry.own import registry_on, storage_folder
from workers.upkeep.collection import Collection

OCI = "application/vnd.oci.image.manifest.v1+json"
RACES_MAX = 100
RACES = repeats(40, RACES_MAX)  # and as many more as it takes until a push and a collection meet
EAGER = Rules(images=0, source_seconds=0, grace_seconds=0)


@pytest.fixture
def folder():
    with storage_folder() as path:
        yield path


@pytest.fixture
def registry(services, folder):
    with registry_on(folder, services.docker_url) as found:
        yield found


def manifest_of(layers, **fields):
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": str(Digest.of(b"{}"))}
    named = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": len(layer), "digest": str(Digest.of(layer))}
        for layer in layers
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": named, **fields}).encode()


def push(registry, repository, layers, tag="latest", tries=10, **fields):
    """Pushes as builds do: what is there is not sent, and what is refused is tried again. Returns how often."""
    for number in range(tries):
        try:
            for content in (b"{}", *layers):
                if not registry.has_blob(repository, Digest.of(content)):
                    registry.put_blob(repository, content)
            registry.put_manifest(repository, manifest_of(layers, **fields), OCI, tag=tag)
        except RegistryError:
            if number == tries - 1:
                raise
        else:
            return number
    raise AssertionError("the last try returns or raises")


def test_the_registry_sees_that_a_blob_is_gone(registry, folder):
    digest = registry.put_blob("apps/t/a", b"content")
    assert registry.read_blob("apps/t/a", digest) == b"content"
    assert registry.has_blob("apps/t/a", digest)
    (Storage(folder).blob(str(digest)) / "data").unlink()
    assert not registry.has_blob("apps/t/a", digest)
    with pytest.raises(NotInRegistryError):
        registry.read_blob("apps/t/a", digest)


def test_an_image_that_goes_is_not_served_and_can_be_pushed_again(registry, folder):
    layers = [b"layer" * 1000]
    push(registry, "apps/t/a", layers, tag=None)
    digest = Digest.of(manifest_of(layers))
    assert registry.has_manifest("apps/t/a", digest)
    done = collect(Storage(folder), (), EAGER, really=True, settle_seconds=0)
    assert (done.manifests, done.blobs) == (1, 3)
    assert not registry.has_manifest("apps/t/a", digest)
    assert push(registry, "apps/t/a", layers, tag=None) == 0
    assert registry.read_blob("apps/t/a", Digest.of(layers[0])) == layers[0]


def test_a_push_beside_a_collection_survives(registry, folder, record_property):
    """Pushes of layers that lie in the registry as garbage, while collections run all the time."""
    storage, done, failures, results = Storage(folder), threading.Event(), [], []
    push(registry, "apps/t/first", [b"first"])

    def collect_all_the_time():
        while not done.is_set():
            try:
                results.append(collect(storage, (), EAGER, really=True, settle_seconds=0.5))
            except Exception as error:  # noqa: BLE001 - told by the test
                failures.append(error)
                return

    collector = threading.Thread(target=collect_all_the_time)
    collector.start()
    dice, again = random.Random(7), 0
    images = {
        f"apps/race/{number}": [f"{number} {part}".encode() * 500 for part in range(3)] for number in range(RACES_MAX)
    }
    pushed = {}
    for repository, layers in images.items():
        if len(pushed) >= RACES and len(results) > 10 and (again or any(found.put_back for found in results)):
            break
        for content in layers:  # garbage, until the manifest below
            registry.put_blob(repository, content)
        push(registry, repository, layers[:1], tag=None)
        time.sleep(dice.uniform(0, 0.15))  # so that pushes meet every moment of a collection
        again += push(registry, repository, layers)
        pushed[repository] = layers
    ended = len(results)
    wait_for(lambda: len(results) > ended + 1 or failures, 60)  # one has begun and ended since the last push
    done.set()
    collector.join()
    assert failures == []
    for repository, layers in pushed.items():
        registry.get_manifest(repository, "latest")
        assert [registry.read_blob(repository, Digest.of(layer)) for layer in layers] == layers
    put_back = sum(found.put_back for found in results)
    removed = sum(found.blobs for found in results)
    record_property("seen", f"{len(results)} collections removed {removed} blobs, put back {put_back}; {again} retries")
    assert len(results) > 10
    assert removed > len(pushed) / 2
    assert put_back + again > 0


@pytest.fixture
def many(folder):
    """A registry's files with 400 images that may go, and one that is tagged."""
    disk = Disk(folder, time.time()).make()
    kept = disk.manifest("apps/t/kept", [disk.blob(b"kept", 9000)], ["latest"], age=9000)
    for number in range(400):
        disk.manifest("apps/t/a", [disk.blob(f"{number}".encode() * 100, 9000)], age=9000, text=str(number))
    return kept


def test_a_collection_that_is_killed_is_completed_by_the_next(settings, farm, folder, many):
    storage = Storage(folder)
    environment = {
        **os.environ,
        "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_RETAIN_IMAGE_DAYS": "0",
    }
    command = [sys.executable, "-m", "buildfarm", "gc", str(folder), "--images=1", "--grace-hours=1"]
    process = subprocess.Popen([*command, "--json"], env=environment, stdout=subprocess.DEVNULL)
    while not any(folder.glob("docker/registry/v2/trash-*/blobs")):
        assert process.poll() is None
        time.sleep(0.005)  # to kill it while it still moves things
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left_over(storage)
    assert Collections(farm.database).newest() is None
    done = json.loads(subprocess.run([*command, "--json"], env=environment, check=True, capture_output=True).stdout)
    assert done["recovered"] > 0
    assert not left_over(storage)
    assert {item.repository for item in storage.manifests()} == {"apps/t/a", "apps/t/kept"}
    assert len(list(storage.manifests())) == 2
    assert len(list(storage.blobs())) == 4
    newest = Collections(farm.database).newest()
    assert newest.totals["manifests"] == done["manifests"] == 399


def test_another_farm_does_not_collect_here(settings, farm, folder, many, registry):
    Storage(folder).own("another")
    environment = {
        **os.environ,
        "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_REGISTRY_URL": f"http://{registry.host}",
    }
    command = [sys.executable, "-m", "buildfarm", "gc", str(folder), "--max-bytes=0"]
    refused = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert refused.returncode == 3
    assert "belongs to another farm" in refused.stderr
    subprocess.run([*command, "--adopt"], env=environment, check=True, capture_output=True)
    assert Storage(folder).owner() == Collections(farm.database).farm_id()


def test_the_leading_node_collects_by_itself_and_stops_a_collection_when_it_stops(settings, farm, folder, many):
    storage, logged = Storage(folder), []
    nodes, collections = Nodes(farm.database), Collections(farm.database)
    own = settings.model_copy(
        update={"node_id": "leader", "registry_storage": folder, "retain_images": 1, "retain_image_days": 0}
    )
    log = SimpleNamespace(info=lambda event, **fields: logged.append((event, fields)), warning=print)
    job = Collection(own, storage, collections, lambda: logged.append("failed"), log)
    job.look()
    assert job._process is None  # it does not lead
    assert nodes.lead("leader", 600)
    job.look()
    job.close()
    assert collections.newest() is None
    job.look()
    wait_for(lambda: job.look() or logged, 60, lambda: "no collection ended")
    assert [event for event, _ in logged] == ["registry_collected"]
    assert logged[0][1]["manifests"] == collections.newest().found["manifests"] == 399
    job.look()
    assert job._process is None  # it is not due
    (folder / "docker/registry/v2/trash-0123").mkdir()
    job.look()
    assert job._process is not None  # one died
    wait_for(lambda: job.look() or not left_over(storage), 60, lambda: "it was not completed")
    job.close()


def test_a_node_that_begins_to_lead_leaves_the_collection_to_the_node_that_began_it(settings, farm, folder, many):
    storage, logged = Storage(folder), []
    own = settings.model_copy(update={"node_id": "second", "registry_storage": folder})
    log = SimpleNamespace(info=logged.append, warning=lambda event, **fields: logged.append((event, fields)))
    job = Collection(own, storage, Collections(farm.database), lambda: logged.append("failed"), log)
    assert Nodes(farm.database).lead("second", 600)
    with storage.locked():
        (folder / "docker/registry/v2/trash-0123").mkdir()
        job.look()
        assert job._process is None  # it would be refused
        job._start()  # as if the other one had begun a moment later
        job._process.wait(60)
        job.look()
    assert logged == []
    (folder / "docker/registry/v2/trash-0123").rmdir()
    job.look()
    assert job._process is not None  # not held up either
    job.close()


def test_collections_that_begin_together_take_neither_for_a_copy_that_was_restored(farm, folder, many):
    garbage, storage = FarmGarbage(farm.history, farm.settings, ()), Storage(folder)
    rules = Rules(images=1, grace_seconds=0)
    garbage.collect(storage, rules, Budget())
    refusals = []

    def collect_once():
        try:
            garbage.collect(storage, rules, Budget(freed_bytes=0, seconds=0))
        except SetupError as error:
            refusals.append(error.message)

    for _ in range(15):
        threads = [threading.Thread(target=collect_once) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {message for message in refusals if "Another process is collecting" not in message} == set()


def test_the_api_reports_what_the_newest_collection_found(farm, folder, many):
    def values():
        return {
            (sample.name, *sample.labels.values()): sample.value for one in collection(farm) for sample in one.samples
        }

    assert set(values().values()) == {0}
    used = FarmGarbage(farm.history, farm.settings, ())
    used.collect(Storage(folder), Rules(images=1, grace_seconds=0), Budget())
    found = values()
    assert found["buildfarm_registry_removed_total", "manifests"] == 399
    assert found["buildfarm_registry_kept_manifests", "tag"] == 1
    assert found["buildfarm_registry_kept_manifests", "newest"] == 1
    assert found[("buildfarm_registry_stored_bytes",)] == sum(size for _, size, _ in Storage(folder).blobs())
    assert found[("buildfarm_registry_freed_bytes_total",)] > 10_000
    assert found[("buildfarm_registry_collected_timestamp_seconds",)] > time.time() - 60
