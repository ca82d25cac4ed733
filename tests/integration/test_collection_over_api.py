"""A real registry without access to its files: its own collector lists and frees, and the farm deletes over the API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import replace

import pytest

from buildfarm.errors import SetupError
from buildfarm.gc.choose import COLLECTION, Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.over_api.alone import alone
from buildfarm.gc.over_api.garbage import ListedGarbage
from buildfarm.gc.over_api.listing import Listing
from buildfarm.gc.over_api.remembered import Remembered
from buildfarm.oci.digest import Digest
from buildfarm.store.keeping.collections import Collections
from buildfarm.store.keeping.marks import Marks
from buildfarm.store.keeping.usage import Usage
from buildfarm.store.tags import Tags
from testkit.registry.bucket import bucket_served
from testkit.registry.own import own_collector, registry_on, registry_on_bucket, storage_folder
from testkit.serving import free_port
from tests.integration.test_collection import manifest_of, push


@pytest.fixture
def name():
    return f"buildfarm-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def registry(services, name, request):
    """On a disk, or on a bucket if the test asks for it."""
    with ExitStack() as stack:
        folder = stack.enter_context(storage_folder())
        if getattr(request, "param", "disk") == "disk":
            yield stack.enter_context(registry_on(folder, services.docker_url, name))
        else:
            _, address = stack.enter_context(bucket_served())
            yield stack.enter_context(registry_on_bucket(address, free_port(), folder, services.docker_url, name))


@pytest.fixture
def lister(services, name):
    return own_collector(services.docker_url, name)


@pytest.fixture
def collected(settings, registry, lister, tmp_path):
    """Lists, and runs the command; its result."""

    def run(*options, check=True, namespace=settings.namespace):
        path = tmp_path / "listing"
        path.write_text(f"# {time.time():.0f}\n{lister('--dry-run')}")
        environment = {
            **os.environ,
            "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
            "BUILDFARM_NAMESPACE": namespace,
            "BUILDFARM_REGISTRY_URL": f"http://{registry.host}",
            "BUILDFARM_BUILDER": "",
            "BUILDFARM_RETAIN_IMAGES": "0",
            "BUILDFARM_RETAIN_IMAGE_DAYS": "0",
        }
        command = [sys.executable, "-m", "buildfarm", "gc", f"--listing={path}", "--grace-hours=0", "--json", *options]
        done = subprocess.run(command, env=environment, check=check, capture_output=True, text=True)
        return json.loads(done.stdout) if check else done

    return run


def image(registry, text, tag=None):
    layer = text.encode() * 10_000
    push(registry, "apps/t/a", [layer], tag=tag)
    return Digest.of(manifest_of([layer])), Digest.of(layer)


def is_there(registry, found):
    manifest, layer = found
    return registry.has_manifest("apps/t/a", manifest), registry.has_blob("apps/t/a", layer)


@pytest.fixture
def listed(farm, registry, lister, tmp_path):
    """A collection of what is listed now, in this process."""
    history = replace(farm.history, registry=lambda: registry)

    def make(kind=FarmGarbage):
        path = tmp_path / "listing"
        path.write_text(f"# {time.time() - 100:.0f}\n{lister('--dry-run')}")
        return ListedGarbage(kind(history, farm.settings, ()), Listing.read(path), settle_seconds=0.5)

    return make


ALL = Rules(images=0, grace_seconds=0)


def test_what_nothing_names_goes_over_the_api_and_its_blobs_by_the_registrys_own_collector(
    farm, registry, lister, collected, listed
):
    tagged, running, lost = image(registry, "tagged", "latest"), image(registry, "running"), image(registry, "lost")
    farm.report_in_use([running[0]])
    Usage(farm.database).sent("apps/t/a", 10**9)
    assert collected("--dry-run")["manifests"] == 1
    assert is_there(registry, lost) == (True, True)
    done = collected()
    assert (done["manifests"], done["put_back"]) == (1, 0)
    assert done["left_bytes"] > 40_000
    assert [is_there(registry, found) for found in (tagged, running, lost)] == [
        (True, True),
        (True, True),
        (False, True),
    ]
    assert 100_000 < Usage(farm.database).of("t")["apps"] < 200_000
    assert Collections(farm.database).newest().totals["manifests"] == 1
    lister()  # the registry is idle, as it is while it is read-only
    assert is_there(registry, tagged) == is_there(registry, running) == (True, True)
    assert not registry.has_blob("apps/t/a", lost[1])
    assert listed().collect(ALL, Budget()).manifests == 4  # what the one before kept of itself, without the newest
    kept = [line for line in lister("--dry-run").splitlines() if f"{COLLECTION}: marking manifest" in line]
    assert len(kept) == 6


@pytest.mark.parametrize("registry", ["bucket"], indirect=True)
def test_the_registry_of_a_bucket_is_collected_too(farm, registry, lister, listed):
    tagged, lost = image(registry, "tagged", "latest"), image(registry, "lost")
    assert listed().collect(ALL, Budget()).manifests == 1
    assert [is_there(registry, found) for found in (tagged, lost)] == [(True, True), (False, True)]
    lister()
    assert is_there(registry, tagged) == (True, True)
    assert not registry.has_blob("apps/t/a", lost[1])


def test_a_registry_of_another_farm_or_an_older_copy_is_refused(farm, settings, registry, collected, listed):
    image(registry, "lost")
    assert listed().collect(ALL, Budget()).manifests == 1
    kept, _ = image(registry, "of the first farm")
    other = settings.model_copy(update={"namespace": f"{settings.namespace}other:"})
    refused = collected(check=False, namespace=other.namespace)
    assert (refused.returncode, "belongs to another farm" in refused.stdout) == (3, True)
    Marks(farm.database).hold()
    refused = collected(check=False)
    assert (refused.returncode, "restored from an older copy" in refused.stdout) == (3, True)
    assert registry.has_manifest("apps/t/a", kept)
    assert collected("--adopt")["manifests"] >= 1
    assert not registry.has_manifest("apps/t/a", kept)


class HeldMeanwhile(FarmGarbage):
    """Redis is restored while the collection reads what is needed."""

    def used(self, *arguments, **options):
        Marks(self.database).hold()
        return super().used(*arguments, **options)


def test_a_restore_while_a_collection_reads_what_is_needed_ends_it(registry, listed):
    image(registry, "of a farm that collects", "latest")
    listed().collect(ALL, Budget())
    kept, _ = image(registry, "kept")
    with pytest.raises(SetupError, match="restored from an older copy"):
        listed(HeldMeanwhile).collect(ALL, Budget())
    assert registry.has_manifest("apps/t/a", kept)
    with pytest.raises(SetupError, match="restored from an older copy"):  # an operator has to confirm it
        listed().collect(ALL, Budget())


def test_one_collection_at_a_time_deletes_over_the_api(farm, registry, listed):
    lost, _ = image(registry, "lost")
    key = farm.database.key("collecting")
    with alone(farm.database) as check:
        with pytest.raises(SetupError, match="Another process"):
            listed().collect(ALL, Budget())
        farm.database.client.set(key, "another's, after a while")
        with pytest.raises(SetupError, match="another one may have begun"):
            check()
    assert farm.database.client.get(key) == "another's, after a while"
    assert registry.has_manifest("apps/t/a", lost)
    farm.database.client.delete(key)
    assert listed().collect(ALL, Budget()).manifests == 1
    assert farm.database.client.get(key) is None


def test_an_image_that_is_pushed_again_after_it_went_is_young_again(registry, listed):
    place = ("apps/t/a", str(image(registry, "again")[0]))
    other = ("apps/t/a", str(image(registry, "tagged", "latest")[0]))
    assert listed().collect(ALL, Budget()).manifests == 1
    image(registry, "again")
    now = time.time()
    seen = Remembered(registry).seen(Listing((place, other), now))
    assert seen[place] == now
    assert seen[other] < now - 50
    assert listed().collect(Rules(images=0, grace_seconds=1000), Budget()).manifests == 0
    assert registry.has_manifest(*place)


def test_a_tag_of_an_image_that_went_and_came_back_is_looked_at_again(farm, registry, listed):
    digest, _ = image(registry, "retagged")
    farm.database.client.hset(farm.database.key("tags"), "t/a:latest", str(digest))
    assert listed().collect(ALL, Budget()).manifests == 0
    farm.database.client.delete(farm.database.key("tags"))

    class TaggedMeanwhile(FarmGarbage):
        def used(self, *arguments, **options):
            if not registry.has_manifest("apps/t/a", digest):
                farm.database.client.hset(farm.database.key("tags"), "t/a:latest", str(digest))
            return super().used(*arguments, **options)

    done = listed(TaggedMeanwhile).collect(ALL, Budget())
    assert done.put_back == 1
    assert registry.has_manifest("apps/t/a", digest)
    assert [found.target for found in Tags(farm.database).due(9)] == ["t/a:latest"]
