"""Archived builds keep their images, and a collection that cannot know which ones removes nothing."""

from __future__ import annotations

import pytest

from buildfarm.errors import RegistryError, RequestError
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive import History
from testkit.archive import SOURCE, Life


@pytest.fixture
def life(farm):
    return Life(farm)


def used(farm, history=None):
    return FarmGarbage(history or farm.history, farm.settings, ()).used()


def image(farm, build_id):
    return str(farm.get(build_id).result.digest)


def test_an_image_is_kept_by_its_archived_record_for_as_long_as_its_apps_policy_says(life):
    images = {app: image(life.farm, life.end(app)) for app in ("a", "b", "c")}
    live = used(life.farm)
    assert life.archive() == 3
    assert life.keys("build:*") == []
    assert used(life.farm).items() >= {name: live[name] for name in images.values()}.items()
    database = life.farm.database
    later = database.now() + 10 * 86400
    life.farm.set_retention(life.tenant, record_days=20)
    life.farm.set_retention(life.tenant, "b", record_days=1)
    life.farm.set_retention(life.tenant, "c", record_days=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(database), "now", lambda _: later)
        found = used(life.farm)
    assert [images[app] in found for app in ("a", "b", "c")] == [True, False, False]
    packs = {pack.manifest for app in images for pack in life.farm.history.catalog.packs(f"{life.tenant}/{app}")}
    assert len(packs) == 3
    assert found.keys() >= packs


def test_the_source_of_a_running_image_is_found_in_the_archive(life):
    running = image(life.farm, life.end())
    life.archive()
    assert str(SOURCE.digest) not in used(life.farm)
    life.farm.report_in_use([running])
    assert used(life.farm)[running] == used(life.farm)[str(SOURCE.digest)] == "running"


def test_a_pack_that_is_lost_stops_the_collection(life):
    life.end()
    life.archive()
    life.farm.registry.delete_blob(
        life.shelf().repository, life.farm.history.catalog.packs(f"{life.tenant}/a")[0].index
    )
    with pytest.raises(RegistryError, match="A pack of the archive cannot be read"):
        used(life.farm)


def test_a_registry_that_is_away_stops_the_collection(life):
    life.end()
    life.archive()
    with Registry("http://127.0.0.1:9", timeout_seconds=1, attempts=1) as away, pytest.raises(UnavailableError):
        used(life.farm, History(life.farm.records, life.logs, lambda: away))


def test_packs_that_are_joined_while_they_are_read_lose_no_image(life):
    first = image(life.farm, life.end())
    life.archive()
    second = image(life.farm, life.end())

    def opened():
        if life.keys("build:*"):  # the list of packs was read: now its only pack is taken in by another one
            assert life.archive() == 1
            assert life.archivist.tidy() == 1
        return life.farm.registry

    class Late(History):
        def _shelf(self, place):
            shelf = super()._shelf(place)

            class Reader:
                repository = shelf.repository

                def index(self, pack):
                    opened()
                    return shelf.index(pack)

            return Reader()

    found = used(life.farm, Late(life.farm.records, life.logs, lambda: life.farm.registry))
    assert life.keys("build:*") == []
    assert found.keys() >= {first, second}


def test_a_policy_that_would_delete_running_images_of_archived_builds_is_refused(life):
    builds = [life.end() for _ in range(3)]
    life.farm.report_in_use([image(life.farm, builds[0])])
    life.archive()
    for app in (None, "a"):
        with pytest.raises(RequestError, match=rf"would delete 1 running images of {life.tenant}/a"):
            life.farm.set_retention(life.tenant, app, images=2, image_days=0)
    life.farm.set_retention(life.tenant, images=3, image_days=0)
