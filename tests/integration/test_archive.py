"""Ended builds move into the registry, on a real Redis and a real registry, and are still there for whoever asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from buildfarm.errors import NotFoundError, RegistryError, RequestError
from buildfarm.input_digest import input_digest
from buildfarm.model import State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.registry import Registry
from buildfarm.store import records
from buildfarm.store.archive import History, history
from buildfarm.store.archive.catalog import Catalog, Joined
from buildfarm.store.archive.patrol import Patrol
from buildfarm.store.archive.shelf import shelved
from buildfarm.telemetry import logger
from testkit.archive import BUILDER, FAILURE, Life, stands, used_digests
from testkit.registry.fake import FakeRegistry


@pytest.fixture
def life(farm):
    return Life(farm)


def test_an_archived_build_is_what_it_was(life):
    ids = [life.end(), life.end(failed=True), life.end(lines=0)]
    before = [(life.farm.get(build_id), list(life.farm.logs(build_id))) for build_id in ids]
    assert life.archive() == 3
    assert [(life.farm.get(build_id), list(life.farm.logs(build_id))) for build_id in ids] == before
    assert life.history() == ids[::-1]
    assert life.history(states={State.FAILED}) == [ids[1]]
    assert life.history(limit=1) == ids[::-1]
    assert life.keys("build:*") == life.keys("logs*") == life.keys("app:*") == life.keys("builds*") == []


def test_a_log_is_read_on_from_a_position(life):
    build_id = life.end(lines=1200)
    lines = list(life.farm.logs(build_id))
    assert life.farm.log_tail(build_id, 7) == lines[-7:]
    life.archive()
    assert list(life.farm.logs(build_id, after=lines[700].position)) == lines[701:]
    assert life.farm.log_tail(build_id, 7) == lines[-7:]
    assert life.farm.log_tail(build_id, 900) == lines[-900:]
    assert life.farm.log_tail(build_id, 900, after=lines[700].position) == lines[701:]
    assert list(life.farm.follow(build_id))[:-1] == lines
    assert list(life.farm.logs(build_id, follow=True)) == lines


def test_logs_of_any_length_are_archived_whole_together(life):
    counts = [0, 1, 999, 1000, 1001, 2000, *[2] * 30]
    ids = [life.end(lines=count) for count in counts]
    assert life.archive() == len(ids)
    for build_id, count in zip(ids, counts, strict=True):
        texts = [line.text for line in life.farm.logs(build_id)]
        assert texts == [f"line {number} of {build_id}" for number in range(count)]


def test_a_follower_goes_on_in_the_archive_when_the_log_moves(life, monkeypatch):
    build_id = life.end(lines=1500)
    lines = life.farm.logs(build_id)
    first = [next(lines) for _ in range(1000)]
    life.archive()
    assert [line.text for line in [*first, *lines]] == [f"line {number} of {build_id}" for number in range(1500)]


def test_a_build_that_runs_stays_and_is_listed_among_the_archived(life):
    life.farm.set_limits(life.tenant, "a", running=3)
    old = life.end()
    running = life.begin()
    young = life.end()
    assert life.archive() == 2
    assert life.history() == [young, running.build_id, old]
    assert life.farm.get(running.build_id).state is State.RUNNING
    life.leases.fail(running, FAILURE)
    assert life.archive() == 1
    assert life.history() == [young, running.build_id, old]


def test_a_build_that_an_older_node_ended_is_archived_too(life):
    lease = life.begin()
    ended = {"state": "succeeded", "finished_at": f"{life.farm.database.now():.6f}"}
    life.farm.database.client.hset(life.farm.database.key("build", lease.build_id), mapping=ended)
    lines = list(life.farm.logs(lease.build_id))
    assert len(lines) == 3
    assert life.archive() == 1
    assert list(life.farm.logs(lease.build_id)) == lines
    assert life.keys("logs*") == life.keys("build:*") == []


def test_small_packs_are_joined_and_the_registry_forgets_them(life):
    ids, manifests = [], set()
    for _ in range(5):
        ids.append(life.end())
        life.archive()
        manifests |= life.farm.history.catalog.digests()
    packs = life.farm.history.catalog.packs(f"{life.tenant}/a")
    assert sum(pack.builds for pack in packs) == 5 > len(packs)
    assert life.history() == ids[::-1]
    life.archivist.tidy()
    for manifest in manifests:
        assert life.farm.registry.has_manifest(life.shelf().repository, manifest) is (
            manifest in {pack.manifest for pack in packs}
        )
    assert life.keys("archive:loose") == []
    images = {life.farm.get(build_id).result.digest for build_id in ids}
    assert used_digests(life.farm) >= {pack.manifest for pack in packs} | images


def test_a_page_of_history_takes_two_requests_to_the_registry(life):
    ids = []
    for size in (9, 4, 1):  # too unlike to be joined
        ids += [life.end(lines=1) for _ in range(size)]
        life.archive()
    assert len(life.farm.history.catalog.packs(f"{life.tenant}/a")) == 3
    asked = []
    fresh = History(life.farm.records, life.logs, lambda: life.farm.registry)
    life.farm.registry.observe(lambda method, *_: asked.append(method))
    found, after = fresh.page(50, tenant=life.tenant, app="a")
    assert [build.id for build in found] == ids[:-6:-1]
    assert asked == ["GET", "GET"]
    asked.clear()
    rest, after = fresh.page(50, tenant=life.tenant, app="a", after=after)
    assert [build.id for build in rest] == ids[-6::-1]
    assert after is None
    assert asked == ["GET"]


@pytest.fixture
def decoded(monkeypatch):
    """The ids of the builds whose records were decoded."""
    found: list[str] = []
    known = records.decode

    def counted(fields):
        found.append(fields["id"])
        return known(fields)

    monkeypatch.setattr(records, "decode", counted)
    monkeypatch.setattr(history, "decode", counted)
    return found


def test_no_more_records_are_decoded_than_a_page_shows(life, decoded, record_property):
    """What an old build takes is bounded by counts: seconds depend on what else the machine does."""
    ids = [life.end(lines=1) for _ in range(40)][::-1]
    life.archive()
    ids = [life.end(lines=1) for _ in range(20)][::-1] + ids
    asked: list[str] = []
    life.farm.registry.observe(lambda method, *_: asked.append(method))

    def work(ask):
        decoded.clear()
        asked.clear()
        found = ask(History(life.farm.records, life.logs, lambda: life.farm.registry))
        return found, len(decoded), len(asked)

    def page(after, states=()):
        return lambda history: history.page(5, tenant=life.tenant, app="a", after=after, states=states)

    (live, after), *counts = work(page(""))
    assert ([build.id for build in live], counts) == (ids[:5], [5, 0])
    middle = life.farm.get(ids[18])
    (found, after), *counts = work(page(f"{middle.submitted_at:.6f}:{middle.id}"))
    assert ([build.id for build in found], counts) == (ids[19:24], [5, 1])
    (found, _), *counts = work(page(after))
    assert ([build.id for build in found], counts) == (ids[24:29], [5, 1])
    (found, _), *counts = work(page(after, {State.FAILED}))
    assert (found, counts) == ([], [0, 1])
    old, *counts = work(lambda history: history.get(ids[30]))
    assert (old.id, counts) == (ids[30], [1, 1])
    lines, *counts = work(lambda history: list(history.logs(ids[30])))
    assert ([line.text for line in lines], counts) == ([f"line 0 of {ids[30]}"], [1, 2])
    record_property("seen", "a page of 5 among 40 in a pack: 5 records decoded, 1 request")


def test_a_list_by_state_decodes_builds_in_this_state_alone(life, decoded):
    ids = [life.end(lines=0, failed=number % 10 == 0) for number in range(30)]
    decoded.clear()
    found, after = life.farm.page(2, states={State.FAILED})
    assert ([build.id for build in found], decoded) == ([ids[20], ids[10]], [ids[20], ids[10]])
    found, after = life.farm.page(2, states={State.FAILED}, after=after)
    assert ([build.id for build in found], after) == ([ids[0]], None)


def test_a_page_that_is_full_is_the_last_if_there_are_no_more(life):
    ids = [life.end(lines=0) for _ in range(4)][::-1]
    for limit, shown in ((4, [ids]), (2, [ids[:2], ids[2:]]), (3, [ids[:3], ids[3:]])):
        found, after = [], ""
        while after is not None:
            builds, after = life.farm.page(limit, tenant=life.tenant, app="a", after=after)
            found.append([build.id for build in builds])
        assert found == shown


def test_a_build_whose_record_expired_before_it_was_archived_leaves_the_lists(farm):
    life = Life(farm)
    expired, kept = life.end(), life.end()
    client, key = farm.database.client, farm.database.key
    client.delete(key("build", expired))  # as when the registry was unreachable until its time was over
    assert life.archive() == 1
    for name in (key("builds"), key("builds", life.tenant), key("app", f"{life.tenant}/a")):
        assert client.zscore(name, expired) is None
    assert life.history() == [kept]


def test_a_build_whose_record_expired_among_the_newest_leaves_the_lists(farm):
    life = Life(farm, kept=10, tenant_kept=10)
    expired, kept = life.end(), life.end()
    life.archive()
    client, key = farm.database.client, farm.database.key
    assert client.exists(key("build", expired), key("build", kept)) == 2
    client.delete(key("build", expired))  # as when its time is over
    life.archive()
    for index in (key("builds"), key("builds", life.tenant)):
        assert client.zrange(index, 0, -1) == [kept]
    assert life.history() == [kept, expired]  # the archive still has it


def test_lists_of_a_tenant_have_its_newest_builds_and_refuse_to_go_on(farm):
    life = Life(farm, kept=Catalog.kept, tenant_kept=Catalog.tenant_kept)
    ids = [life.end(f"a{number % 3}", lines=1) for number in range(Catalog.tenant_kept + 10)]
    assert Catalog.tenant_kept + 10 < Catalog.kept
    found, after = life.farm.page(200, tenant=life.tenant)
    assert [build.id for build in found] == ids[::-1]
    life.archive()
    assert [build.id for build in life.farm.page(200, tenant=life.tenant)[0]] == ids[::-1]
    farm.database.client.zremrangebyrank(farm.database.key("builds"), 0, -1)  # as if others had built meanwhile
    life.archivist.catalog.leave(f"{life.tenant}/a0", ids[0::3])
    kept = [build_id for number, build_id in enumerate(ids) if number % 3 or number >= 10]
    found, after = life.farm.page(200, tenant=life.tenant)
    assert [build.id for build in found] == kept[::-1]
    assert after is None
    with pytest.raises(RequestError, match="archive"):
        life.farm.page(200, tenant=life.tenant, after=f"{found[-1].submitted_at:.6f}:{found[-1].id}")
    assert life.farm.get(ids[0]).id == ids[0]
    assert life.history(app="a0") == ids[0::3][::-1]


def test_an_equal_request_and_a_repeated_one_are_answered_from_the_archive(life, monkeypatch):
    first = life.end(idempotency_key="k")
    life.archive()
    request = life.farm.get(first).request
    assert life.farm.submit(request).id == first
    assert life.farm.submit(request, build_id=first).id == first
    digest = input_digest(request, BUILDER, life.farm.settings)
    cached = life.farm.history.cached_result(f"{life.tenant}/a", digest)
    assert cached is not None
    assert (cached.build_id, cached.result) == (first, life.farm.get(first).result)
    assert life.farm.history.cached_result(f"{life.tenant}/other", digest) is None
    assert life.keys("memo:*") == []


def test_a_node_that_dies_with_a_pack_leaves_nothing_behind(life):
    build_id = life.end()
    shelf = life.shelf()
    pack = next(life.archivist._packs([build_id]))
    life.archivist.catalog.note_loose(f"{shelf.repository} {shelved(pack).manifest}")
    kept = shelf.put(pack)
    # Another node cleans up, and then archives the build itself.
    assert life.archivist.tidy() == 1
    with pytest.raises(NotInRegistryError):
        life.farm.registry.get_manifest(shelf.repository, kept.manifest)
    assert life.archive() == 1
    assert life.history() == [build_id]


def test_of_two_archivists_one_wins(life):
    ids = [life.end()]
    life.archive()
    ids.append(life.end())
    slow, fast = life.keeper(), life.keeper()
    stop = []

    class Late(type(slow.catalog)):
        def join(self, joined):
            if not stop:
                stop.append(1)
                fast.archive(f"{life.tenant}/a")
            return super().join(joined)

    slow.catalog = Late(life.farm.database)
    slow.archive(f"{life.tenant}/a")
    assert stop
    fast.tidy()
    assert life.history() == ids[::-1]
    assert [line.text for line in life.farm.logs(ids[0])] == [f"line {n} of {ids[0]}" for n in range(3)]


def test_packs_whose_time_is_over_are_removed(life):
    ids = [life.end(), life.end("b")]
    life.archive()
    assert life.keeper().remove_expired() == 0
    manifests = life.farm.history.catalog.digests()
    assert life.keeper(kept=-1).remove_expired() == 2
    assert life.archivist.tidy() == 2 == len(manifests)
    for build_id in ids:
        with pytest.raises(NotFoundError):
            life.farm.get(build_id)
    assert life.keys("archive*") == [life.farm.database.key("archive", "state")]


def test_a_damaged_pack_is_removed_when_its_time_is_over(life):
    build_id, place = life.end(), f"{life.tenant}/a"
    life.archive()
    [pack] = life.catalog.packs(place)
    index = life.farm.registry.put_blob(life.shelf().repository, b"not an index")
    assert life.catalog.join(Joined(place, replace(pack, index=index), "", [pack]))
    assert life.keeper(kept=-1).remove_expired() == 1
    assert life.catalog.packs(place) == []
    with pytest.raises(NotFoundError):
        life.farm.get(build_id)


def test_a_missing_blob_is_named_and_the_rest_is_shown(life):
    lost_id, *_ = [life.end(lines=1) for _ in range(6)]
    life.archive()
    other = life.end(lines=1)
    life.archive()
    packs = life.farm.history.catalog.packs(f"{life.tenant}/a")
    assert len(packs) == 2
    index = life.shelf().index(packs[0])
    fresh = History(life.farm.records, life.logs, lambda: life.farm.registry)
    life.farm.registry.delete_blob(life.shelf().repository, index.data)
    assert fresh.get(lost_id).id == lost_id
    assert next(fresh.logs(lost_id)).text.startswith("[The rest of this log is lost. In the registry, archive/")
    assert fresh.log_tail(lost_id, 3) == list(fresh.logs(lost_id))
    life.farm.registry.delete_blob(life.shelf().repository, packs[0].index)
    fresh = History(life.farm.records, life.logs, lambda: life.farm.registry)
    lost: list[str] = []
    found, after = fresh.page(50, tenant=life.tenant, app="a", lost=lost)
    assert ([build.id for build in found], after) == ([other], None)
    assert len(lost) == 1
    assert "6 builds" in lost[0]
    assert packs[0].index in lost[0]
    with pytest.raises(Exception, match="is in the archive, and cannot be read"):
        fresh.get(lost_id)
    third = life.end(lines=1)
    assert life.archive() == 1
    assert fresh.get(third).id == third


def test_metrics_say_what_the_archive_has(life):
    assert set(stands(life, look=False).values()) == {0}
    for app, builds in (("a", 3), ("b", 2)):
        for _ in range(builds):
            life.end(app, lines=2)
    began = life.farm.database.now()
    assert life.archive() == 5
    found = stands(life)
    packs = [pack for app in "ab" for pack in life.catalog.packs(f"{life.tenant}/{app}")]
    assert (found["builds"], found["packs"], found["damaged_packs"]) == (5, 2, 0)
    assert found["log_bytes"] == sum(pack.data_bytes for pack in packs) > 0
    assert began <= found["looked_timestamp_seconds"] <= life.farm.database.now()


@pytest.mark.parametrize("what", ["manifest", "index", "logs"])
def test_a_damaged_pack_that_nobody_reads_is_found_until_it_is_whole_again(life, what):
    for app in "ab":
        life.end(app)
    life.archive()
    place, shelf = f"{life.tenant}/a", life.shelf()
    [pack] = life.catalog.packs(place)
    whole = shelf.pack(pack)
    if what == "manifest":
        life.farm.registry.delete_manifest(shelf.repository, pack.manifest)
    else:
        life.farm.registry.delete_blob(shelf.repository, pack.index if what == "index" else shelf.index(pack).data)
    assert stands(life)["damaged_packs"] == 0  # the first round begins
    assert stands(life)["damaged_packs"] == 1
    assert life.archivist.patrol.tally.damaged() == {f"{place} {pack.manifest}"}
    assert shelf.put(whole) == pack
    life.keeper().patrol.count()  # looks at those first that were damaged
    assert stands(life)["damaged_packs"] == 0


def test_a_registry_that_lets_nobody_in_makes_no_pack_damaged(life):
    life.end()
    life.archive()
    with FakeRegistry(credentials="farm:right") as closed:
        with Registry(f"http://farm:wrong@{closed.host}", attempts=1) as registry:
            patrol = Patrol(life.catalog, registry, logger())
            assert patrol.look() == 0  # the first round begins
            with pytest.raises(RegistryError, match="401"):
                patrol.look()
        assert patrol.tally.damaged() == set()


def test_a_pack_that_others_have_replaced_meanwhile_is_not_damaged(life):
    life.end()
    life.archive()
    patrol = life.archivist.patrol
    patrol.look()
    patrol._round = iter([(f"{life.tenant}/a", pack) for pack in life.catalog.packs(f"{life.tenant}/a")])
    life.end()
    life.archive()
    life.archivist.tidy()
    assert patrol.look(1) == 1
    assert patrol.tally.damaged() == set()


def test_a_damaged_pack_that_is_gone_is_forgotten(life):
    life.end()
    life.archive()
    patrol, [pack] = life.archivist.patrol, life.catalog.packs(f"{life.tenant}/a")
    life.farm.registry.delete_blob(life.shelf().repository, pack.index)
    life.end()
    assert life.archive() == 1  # it is not taken in, and named
    assert len(patrol.tally.damaged()) == 1
    life.keeper(kept=-1).remove_expired()
    patrol.count()
    assert patrol.tally.damaged() == set()
