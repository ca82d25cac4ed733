"""The list of apps on a real Redis: newest first, page by page, with what became of their builds, archived or not."""

from __future__ import annotations

import pytest

from buildfarm.model import BuildRequest, ImageRequest
from buildfarm.store.archive.patrol import Patrol
from buildfarm.store.keeping.apps import AppRow, Apps
from buildfarm.store.pages import Pages
from buildfarm.telemetry import logger
from testkit.archive import SOURCE, Life


@pytest.fixture
def life(farm):
    return Life(farm)


@pytest.fixture
def apps(farm):
    return Apps(farm.database)


def names(rows: list[AppRow]) -> list[str]:
    return [row.place.partition("/")[2] for row in rows]


def whole(apps: Apps, limit: int, tenant: str | None = None) -> list[str]:
    """The apps over all pages."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        rows, after = apps.page(limit, tenant=tenant, after=after)
        assert len(rows) <= limit
        found += names(rows)
    return found


def test_apps_come_in_the_order_of_their_newest_build_over_any_number_of_pages(life, apps):
    for app in ("a", "b", "c", "d", "a"):
        life.end(app, lines=0)
    assert whole(apps, 10) == whole(apps, 2) == whole(apps, 1) == ["a", "d", "c", "b"]
    life.archive()
    assert whole(apps, 3) == ["a", "d", "c", "b"]


def test_a_tenants_list_has_its_own_apps_alone(farm, life, apps):
    life.end("a", lines=0)
    farm.submit(BuildRequest(tenant="other", app="b", source=SOURCE))
    assert whole(apps, 5, life.tenant) == ["a"]
    assert whole(apps, 5, "other") == ["b"]
    assert names(apps.matching("a", 5, tenant="other")) == []
    assert names(apps.matching("other/b", 5)) == ["b"]


def test_a_row_has_the_newest_build_and_the_trend_of_those_that_ended(farm, life, apps):
    good, bad = life.end("a"), life.end("a", failed=True)
    lease = life.begin("a")
    [row], following = apps.page(5)
    assert following is None
    assert (row.build_id, row.state, row.phase) == (lease.build_id, "running", "prepare")
    assert [(one.build_id, one.state) for one in row.endings] == [(good, "succeeded"), (bad, "failed")]
    assert all(one.seconds is not None for one in row.endings)
    life.leases.succeed(lease, life.result("a"), input_digest="d" * 64)
    life.archive()
    [archived], _ = apps.page(5)
    assert (archived.build_id, archived.state) == (lease.build_id, "succeeded")
    assert len(archived.endings) == 3
    assert life.keys("build:*") == []


def test_a_trend_is_bounded(life, apps):
    ids = [life.end("a", lines=0) for _ in range(25)]
    [row], _ = apps.page(5)
    assert [one.build_id for one in row.endings] == ids[-20:]


def test_a_build_is_found_by_the_digest_of_its_image(life, farm, apps):
    found = {life.end("a", lines=0) for _ in range(3)}
    for build_id in found:
        digest = farm.get(build_id).result.digest.hex
        assert apps.builds_of_image(digest) == apps.builds_of_image(digest[:12]) == [build_id]
    assert apps.builds_of_image("f" * 5) == apps.builds_of_image("*" * 12) == []


def test_an_image_that_was_built_again_is_found_without_its_first_build(life, farm, apps):
    result = life.result("a")
    first = life.begin("a")
    life.leases.succeed(first, result)
    second = life.begin("a")
    life.leases.succeed(second, result)
    farm.database.client.delete(farm.database.key("build", first.build_id))
    assert apps.builds_of_image(result.digest.hex) == [second.build_id]


def test_tenants_with_the_same_image_do_not_hide_each_others_builds(life, farm, apps):
    result, found = life.result("a"), {}
    for tenant in (life.tenant, "other"):
        request = BuildRequest(tenant=tenant, app="a", source=SOURCE, cached_result=False)
        lease = life.leases.claim(farm.submit(request).id, "node")
        life.leases.succeed(lease, result)
        found[tenant] = lease.build_id
    for tenant, build_id in found.items():
        assert apps.builds_of_image(result.digest.hex, tenant=tenant) == [build_id]
    assert sorted(apps.builds_of_image(result.digest.hex)) == sorted(found.values())


def test_images_of_long_ago_are_forgotten(life, farm, apps):
    result = life.result("a")
    key = farm.database.key("images", str(int(result.digest.hex[:3], 16)))
    farm.database.client.hset(key, mapping={f"{number:013x}": "old 1" for number in range(63)})
    lease = life.begin("a")
    life.leases.succeed(lease, result)
    assert apps.builds_of_image(result.digest.hex) == [lease.build_id]
    assert farm.database.client.hlen(key) == 1


def test_endings_without_a_build_take_no_room_in_a_trend(life, farm, apps):
    built = life.end("a", lines=0)
    for _ in range(25):
        request = BuildRequest(tenant=life.tenant, app="a", source=SOURCE, cached_result=False)
        cancelled = farm.submit(request).id
        farm.cancel(cancelled)
    [row], _ = apps.page(5)
    assert [(one.build_id, one.seconds is None) for one in row.endings] == [(built, False), (cancelled, True)]
    life.archive()
    assert [(row.build_id, row.state) for row in apps.page(5)[0]] == [(cancelled, "cancelled")]
    ids = [built, *(life.end("a", lines=0) for _ in range(3))]
    assert [one.build_id for one in apps.page(5)[0][0].endings] == ids


def test_an_app_leaves_with_its_last_archived_build(life, apps):
    life.end("a")
    life.archive()
    life.keeper(kept=-100).remove_expired()
    assert whole(apps, 5) == []
    assert life.keys("trend:*") == life.keys("apps*") == []


def test_an_app_that_was_never_archived_leaves_when_it_was_idle_for_too_long(life, farm, apps):
    life.end("idle", lines=0)
    for key in life.keys("apps*"):
        farm.database.client.zadd(key, {f"{life.tenant}/idle": 1})
    life.end("a", lines=0)
    assert whole(apps, 5) == ["a"]


def test_apps_that_an_older_version_archived_are_listed(life, farm, apps):
    for app in ("a", "b"):
        life.end(app, lines=0)
    life.archive()
    for key in [*life.keys("apps*"), *life.keys("trend:*")]:
        farm.database.client.delete(key)
    Patrol(life.catalog, farm.registry, logger()).count()
    assert whole(apps, 5) == whole(apps, 5, life.tenant) == ["b", "a"]
    assert [row.build_id for row in apps.page(5)[0]] == ["", ""]


def test_apps_whose_builds_an_older_version_left_in_redis_are_listed(life, farm, apps):
    for app in ("a", "b", "a"):
        life.end(app, lines=0)
    for key in [*life.keys("apps*"), *life.keys("trend:*")]:
        farm.database.client.delete(key)
    Patrol(life.catalog, farm.registry, logger()).count()
    assert whole(apps, 5) == whole(apps, 5, life.tenant) == ["a", "b"]
    assert all(row.build_id for row in apps.page(5)[0])


def test_a_build_is_listed_behind_many_whose_records_are_gone(life, farm):
    kept = life.end("a", lines=0)
    gone = {f"gone-{number}": 1e11 + number for number in range(1500)}
    farm.database.client.zadd(farm.database.key("app", f"{life.tenant}/a"), gone)
    builds, _ = Pages(farm.database).page(1, tenant=life.tenant, app="a")
    assert [build.id for build in builds] == [kept]


def test_the_farms_own_images_are_not_apps(farm, apps):
    farm.cancel(farm.submit(ImageRequest(image="redis", version="7.2", source=SOURCE)).id)
    assert whole(apps, 5) == []
