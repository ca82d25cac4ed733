"""What a farm finds again in its registry, and when it refuses to collect: after a copy of one of both was restored."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from buildfarm.errors import RegistryError, SetupError
from buildfarm.farm import open_farm
from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import Budget
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.gc.storage import Storage
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures import simple
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.store.tags import Tags
from buildfarm.telemetry import logger
from signer.beginning import begin
from testkit.archive import Life
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from tests.integration.lost_writes import go_back, remember

RULES = Rules(images=0, grace_seconds=0)
RUNNING = str(Digest.of(b"an image"))


@pytest.fixture
def folder():
    with storage_folder() as path:
        yield path


@pytest.fixture
def life(services, settings, folder):
    """A farm with a registry of its own."""
    with registry_on(folder, services.docker_url) as registry:
        registry.put_blob("apps/t/a", b"so that there are files")
        with open_farm(settings.model_copy(update={"registry_url": f"http://{registry.host}"})) as farm:
            yield Life(farm)


@pytest.fixture
def garbage(life):
    return FarmGarbage(life.farm.history, life.farm.settings, ())


def collect(garbage, folder, *, adopt=False):
    return garbage.collect(Storage(folder), RULES, Budget(), adopt=adopt)


def forget_all(life):
    """Redis is lost."""
    life.farm.database.client.delete(*life.keys("*"))


def test_the_archive_is_found_again_when_redis_is_lost(life, garbage):
    ended = [life.end(app) for app in ("a", "a", "b")]
    life.archive()
    ended.append(life.end("a", failed=True))
    life.archive()
    before = {build_id: (life.farm.get(build_id), list(life.farm.logs(build_id))) for build_id in ended}
    forget_all(life)
    done = garbage.rebuild()
    assert (done.builds, done.found, done.lost, done.damaged) == (4, 4, [], [])
    assert {build_id: (life.farm.get(build_id), list(life.farm.logs(build_id))) for build_id in ended} == before
    assert life.history() == [ended[3], ended[1], ended[0]]
    again = garbage.rebuild()
    assert (again.builds, again.found, again.packs) == (4, 0, done.packs)


def test_builds_that_redis_has_from_before_they_were_archived_leave_it(life, garbage):
    build_id = life.end(lines=5)
    client, key = life.farm.database.client, life.farm.database.key
    record, log = client.hgetall(key("build", build_id)), list(life.farm.logs(build_id))
    life.archive()
    client.hset(key("build", build_id), mapping=record)
    client.zadd(key("app", f"{life.tenant}/a"), {build_id: float(record["submitted_at"])})
    client.delete(key("archive", f"{life.tenant}/a"), key("archive", "apps"))
    assert garbage.rebuild().found == 1
    assert life.keys(f"build:{build_id}") == []
    assert list(life.farm.logs(build_id)) == log
    assert life.history() == [build_id]


def test_a_build_that_runs_again_is_left_in_redis(life, garbage):
    running = life.begin()
    record = life.farm.database.client.hgetall(life.farm.database.key("build", running.build_id))
    life.leases.succeed(running, life.result("a"))
    life.archive()
    life.farm.database.client.hset(life.farm.database.key("build", running.build_id), mapping=record)
    garbage.rebuild()
    assert life.farm.get(running.build_id).state == "running"


def test_packs_that_the_registry_lost_are_named_and_forgotten(life, garbage):
    kept, lost = life.end("a"), life.end("b")
    life.archive()
    pack = life.farm.history.catalog.packs(f"{life.tenant}/b")[0]
    life.farm.registry.delete_manifest(life.shelf("b").repository, pack.manifest)
    done = garbage.rebuild()
    assert [(one.place, one.builds) for one in done.lost] == [(f"{life.tenant}/b", 1)]
    assert (done.builds, done.packs) == (1, 1)
    assert life.farm.history.catalog.where(kept)
    assert life.farm.history.catalog.where(lost) is None
    assert garbage.used()


def test_a_pack_that_was_joined_into_a_newer_one_is_forgotten_where_a_copy_brings_it_back(life, garbage):
    life.end()
    life.archive()
    old = life.shelf().pack(life.farm.history.catalog.packs(f"{life.tenant}/a")[0])
    life.end()
    life.archive()
    life.archivist.tidy()
    again = life.shelf().put(old)
    assert garbage.rebuild().builds == 2
    assert again not in life.farm.history.catalog.packs(f"{life.tenant}/a")
    assert life.archivist.tidy() == 1


def test_apps_whose_newest_image_the_registry_lacks_are_named(life, garbage):
    lease = life.begin("a")
    target = f"apps/{life.tenant}/a"
    life.leases.publish(lease, target, life.result("a"))
    assert garbage.rebuild().without_image == [target]


def test_apps_whose_packs_are_all_lost_are_named_too(life, garbage):
    lease = life.begin("a")
    target = f"apps/{life.tenant}/a"
    life.leases.publish(lease, target, life.result("a"))
    life.leases.succeed(lease, life.result("a"))
    life.archive()
    [pack] = life.catalog.packs(f"{life.tenant}/a")
    life.farm.registry.delete_manifest(life.shelf().repository, pack.manifest)
    assert garbage.rebuild().without_image == [target]
    assert life.farm.database.client.smembers(life.farm.database.key("archive", "loose")) == set()


def test_a_damaged_pack_stops_also_the_collection_that_adopts(life, garbage, folder):
    life.end()
    life.archive()
    [pack] = life.catalog.packs(f"{life.tenant}/a")
    forget_all(life)
    blob = Storage(folder).blob(pack.index) / "data"
    blob.write_bytes(b"damaged")
    with pytest.raises(RegistryError, match=pack.index.hex) as refused:
        collect(garbage, folder, adopt=True)
    assert "delete its tag" in refused.value.advice


@pytest.mark.parametrize("older", ["redis", "registry"])
def test_a_collection_over_an_older_copy_waits_until_it_is_confirmed(life, garbage, folder, older):
    collect(garbage, folder)
    client, key = life.farm.database.client, life.farm.database.key("collected")
    redis, registry = client.hgetall(key), Storage(folder).memory()
    collect(garbage, folder)
    if older == "redis":
        client.delete(key)
        client.hset(key, mapping=redis)
    else:
        Storage(folder).remember(registry)
    with pytest.raises(SetupError, match="restored from an older copy") as refused:
        collect(garbage, folder)
    assert "buildfarm gc --adopt" in refused.value.advice
    collect(garbage, folder, adopt=True)
    collect(garbage, folder)


def test_once_the_archive_was_rebuilt_a_collection_waits_until_it_is_confirmed(life, garbage, folder):
    collect(garbage, folder)
    garbage.rebuild()
    with pytest.raises(SetupError, match="restored from an older copy"):
        collect(garbage, folder)
    collect(garbage, folder, adopt=True)
    collect(garbage, folder)


@pytest.mark.parametrize("written", [True, False])
def test_a_collection_that_died_between_both_marks_is_no_older_copy(life, garbage, folder, written):
    collect(garbage, folder)
    client, key, storage = life.farm.database.client, life.farm.database.key("collected"), Storage(folder)
    client.hset(key, "next_mark", "0123456789abcdef")
    if written:
        storage.remember({**storage.memory(), "mark": "0123456789abcdef"})
    collect(garbage, folder)
    assert storage.memory()["mark"] == client.hget(key, "mark") != "0123456789abcdef"
    assert client.hget(key, "next_mark") is None


def test_a_registry_that_was_collected_by_an_older_version_is_collected_on(life, garbage, folder):
    collect(garbage, folder)
    (Storage(folder).top / "collection.memory").unlink()
    life.farm.database.client.hdel(life.farm.database.key("collected"), "mark")
    collect(garbage, folder)


def test_reports_of_running_images_and_their_sources_are_taken_from_the_registry(life, garbage, folder):
    image = str(life.farm.get(life.end()).result.digest)
    life.farm.report_in_use([image], reporter="one", days=2)
    life.farm.report_in_use([RUNNING], reporter="two", days=2)
    used = garbage.used()
    collect(garbage, folder)
    until = {report.reporter: report.until for report in life.farm.images_in_use()}
    forget_all(life)
    life.farm.report_in_use([RUNNING[:-1] + "0"], reporter="two", days=1)
    with pytest.raises(SetupError, match="another farm"):
        collect(garbage, folder)
    collect(garbage, folder, adopt=True)
    found = {report.reporter: report for report in life.farm.images_in_use()}
    assert {name: report.until for name, report in found.items()} == pytest.approx(until, abs=2)
    assert set(found["one"].images) == {image}
    assert set(found["two"].images) == {RUNNING, RUNNING[:-1] + "0"}
    running = {digest for digest, reason in used.items() if reason == "running"}
    assert {digest for digest, reason in garbage.used().items() if reason == "running"} >= running


def test_reports_that_have_ended_do_not_count_again(life, garbage, folder):
    life.farm.report_in_use([RUNNING])
    collect(garbage, folder)
    storage = Storage(folder)
    memory = json.loads(json.dumps(storage.memory()))
    memory["reports"][0]["until"] = 1
    storage.remember(memory)
    forget_all(life)
    collect(garbage, folder, adopt=True)
    assert life.farm.images_in_use() == []


def test_the_command_says_what_it_found_and_what_is_lost(life, services):
    life.end("a")
    life.end("b")
    life.archive()
    pack = life.farm.history.catalog.packs(f"{life.tenant}/b")[0]
    life.farm.registry.delete_manifest(life.shelf("b").repository, pack.manifest)
    settings = life.farm.settings
    environment = {
        **os.environ,
        "BUILDFARM_REDIS_URL": settings.redis_url.get_secret_value(),
        "BUILDFARM_NAMESPACE": settings.namespace,
        "BUILDFARM_REGISTRY_URL": settings.registry_url,
    }
    command = [sys.executable, "-m", "buildfarm", "archive", "rebuild"]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[0] == "Builds in the archive: 1, in packs: 1, not known before: 0."
    assert said[1].startswith(f"Lost, builds of {life.tenant}/b: 1, submitted from 20")
    shown = subprocess.run([*command, "--json"], env=environment, check=True, capture_output=True, text=True).stdout
    assert json.loads(shown) == {
        "packs": 1, "builds": 1, "found": 0, "lost": [], "damaged": [], "sources": 1, "tags": [], "paused": [],
        "unread": [],
        "without_image": [f"apps/{life.tenant}/a"],  # what a Life's builds end with is in no registry
    }  # fmt: skip


def test_newest_images_are_taken_from_the_registry_when_redis_is_lost(life, garbage):
    deployed, target = Deployed(life.farm), f"apps/{life.tenant}/a"
    image = deployed.app(f"{life.tenant}/a", deployed.base("2026-01-01T00:00:00Z"))
    forget_all(life)
    assert garbage.rebuild().tags == [target]
    assert life.farm.records.tag_target(target) == image
    assert garbage.rebuild().tags == []


def test_an_app_that_was_built_since_an_older_copy_of_redis_gets_its_image_from_the_registry(life, garbage):
    """A move since the copy is not taken over: the rollout that made it goes on from where the copy has it."""
    deployed, names = (
        Deployed(life.farm),
        {name: f"{life.tenant}/{name}" for name in ("built", "moved", "back", "late")},
    )
    first, second = (deployed.base(f"2026-01-0{day}T00:00:00Z") for day in (1, 2))
    lease = life.begin("back")
    newer = deployed.app(names["back"], first, code="2")
    life.leases.succeed(lease, life.result("back").model_copy(update={"digest": Digest(newer)}))
    old = {name: deployed.app(app, first) for name, app in names.items()}  # also as after a rollback
    behind = deployed.app(names["late"], second, code="0")  # its tag has not followed the newest build
    life.farm.database.client.lpush(life.farm.database.key("rebases", names["late"]), json.dumps({"image": behind}))
    life.farm.database.client.hset(life.farm.database.key("tags"), f"apps/{names['late']}", old["late"])
    copy = remember(life.farm.database)
    deployed.app(names["built"], first, code="2")
    new = deployed.app(names["built"], second, code="2")
    deployed.app(names["moved"], second)
    life.farm.registry.move_tag(f"apps/{names['back']}", "latest", lambda: newer)
    go_back(life.farm.database, copy)
    assert garbage.rebuild().tags == [f"apps/{names['built']}"]
    known = {name: life.farm.records.tag_target(f"apps/{app}") for name, app in names.items()}
    assert known == old | {"built": new}


def built(life, app, image):
    """A build of the tenant's app has made this image."""
    life.leases.succeed(life.begin(app), life.result(app).model_copy(update={"digest": Digest(image)}))


def test_no_image_is_taken_from_a_registry_that_is_older_than_redis(life, garbage):
    deployed, names = Deployed(life.farm), [f"{life.tenant}/{name}" for name in ("a", "lost")]
    base = deployed.base("2026-01-01T00:00:00Z")
    old = {app: deployed.app(app, base) for app in names}
    for app, image in old.items():
        built(life, app.partition("/")[2], image)
    new = {app: deployed.app(app, base, code="2") for app in names}
    for app in names:
        life.farm.registry.move_tag(f"apps/{app}", "latest", lambda image=old[app]: image)
    life.farm.registry.delete_manifest(f"apps/{names[1]}", Digest(new[names[1]]))
    done = garbage.rebuild()
    assert (done.without_image, done.tags) == ([f"apps/{names[1]}"], [])
    assert life.farm.records.tag_target(f"apps/{names[0]}") == new[names[0]]


def test_packs_that_were_joined_since_an_older_copy_of_redis_do_not_make_the_registry_the_older(life, garbage):
    deployed = Deployed(life.farm)
    base = deployed.base("2026-01-01T00:00:00Z")
    deployed.app(f"{life.tenant}/b", base)
    life.end("a")
    life.archive()
    copy = remember(life.farm.database)
    life.end("a")
    life.archive()
    life.archivist.tidy()
    new = deployed.app(f"{life.tenant}/b", base, code="2")
    go_back(life.farm.database, copy)
    assert garbage.rebuild().tags == [f"apps/{life.tenant}/b"]
    assert life.farm.records.tag_target(f"apps/{life.tenant}/b") == new


def test_an_app_whose_packs_are_all_lost_does_not_get_the_image_before_from_its_tag(life, garbage):
    deployed, target = Deployed(life.farm), f"apps/{life.tenant}/a"
    base = deployed.base("2026-01-01T00:00:00Z")
    deployed.app(f"{life.tenant}/other", base)
    built(life, "a", old := deployed.app(f"{life.tenant}/a", base))
    built(life, "a", new := deployed.app(f"{life.tenant}/a", base, code="2"))
    life.archive()
    for pack in life.catalog.packs(f"{life.tenant}/a"):
        life.farm.registry.delete_manifest(life.shelf().repository, pack.manifest)
    life.farm.registry.move_tag(target, "latest", lambda: old)
    life.farm.registry.delete_manifest(target, Digest(new))
    done = garbage.rebuild()
    assert (done.without_image, done.tags) == ([target], [])
    assert garbage.rebuild().tags == [], "nor in the collection that adopts"


def test_apps_without_a_build_come_back_with_an_empty_redis_alone(life, garbage):
    deployed = Deployed(life.farm)
    base = deployed.base("2026-01-01T00:00:00Z")
    for app in ("ended", "kept"):
        deployed.app(f"{life.tenant}/{app}", base)
    life.farm.database.client.hdel(life.farm.database.key("tags"), f"apps/{life.tenant}/ended")
    assert garbage.rebuild().tags == []
    forget_all(life)
    assert set(garbage.rebuild().tags) == {f"apps/{life.tenant}/{app}" for app in ("ended", "kept")}


def test_no_signer_takes_over_what_a_restore_took_from_tags(life):
    deployed, target = Deployed(life.farm), f"apps/{life.tenant}/a"
    base = deployed.base("2026-01-01T00:00:00Z")
    old, image = (deployed.app(f"{life.tenant}/a", base, code=code) for code in "12")
    life.farm.database.client.hset(life.farm.database.key("tags"), target, old)
    signing = FarmGarbage(life.farm.history, life.farm.settings.model_copy(update={"signing": "1"}), ())
    assert signing.rebuild().tags == [], "Redis has images from before signing, and the first signer takes those"
    forget_all(life)
    done = signing.rebuild()
    assert (done.tags, done.unread) == (
        [],
        [f"The tag of {target}: its image {image} has no signature. Build the app again."],
    )
    forget_all(life)
    registry = life.farm.registry
    media_type, content, _ = registry.get_manifest(target, image)
    registry.put_manifest(target, content, media_type, tag=simple.tag_of(Digest(image)))  # who made it is not looked at
    done = signing.rebuild()
    assert (done.tags, done.unread) == ([target], [])
    begin(life.farm, logger())
    assert not Adopted(life.farm.database).has(target, image)


def test_a_build_that_publishes_meanwhile_keeps_the_tag_of_a_new_app(life):
    tags = Tags(life.farm.database)
    assert tags.point("apps/t/new", "sha256:new", "", is_new=True)
    assert tags.point("apps/t/new", "sha256:old", "", is_new=True) is None
    assert life.farm.records.tag_target("apps/t/new") == "sha256:new"


def test_an_app_that_redis_has_removed_does_not_come_back_from_an_older_registry(life, garbage):
    deployed, target = Deployed(life.farm), f"apps/{life.tenant}/a"
    image = deployed.app(f"{life.tenant}/a", deployed.base("2026-01-01T00:00:00Z"))
    built(life, "a", image)
    life.archive()
    Tags(life.farm.database).point(target, "", "")  # as the end of a preview
    assert garbage.rebuild().tags == []
