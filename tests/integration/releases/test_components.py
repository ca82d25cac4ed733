"""Layers are read in a real sandbox for their components, and queries find exactly the apps that contain one."""

from __future__ import annotations

import json
import secrets
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import httpx
import pytest

from buildfarm.client import Client
from buildfarm.errors import NotFoundError, NotReadYetError, RequestError
from buildfarm.farm import Farm, open_farm
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.layer import COMPONENTS_VERSION, LayerFacts
from buildfarm.releases.facts.store import FactsStore, components_key, failed_key
from buildfarm.store import Nodes
from buildfarm.telemetry.metrics import Metrics
from testkit.builds import empty_namespace
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from testkit.serving import serving
from workers.caches.facts.reader import FactsReader
from workers.engine import open_engine
from workers.wiring import make_tools, open_facts

CREATED = "2026-01-01T00:00:00Z"
DPKG = {
    "var/lib/dpkg/status": b"Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.5.1-1\n"
    b"\nPackage: libssl3t64\nStatus: install ok installed\nSource: openssl\nArchitecture: amd64\nVersion: 3.5.1-1\n"
}


def npm(name, version):
    return {f"app/node_modules/{name}/package.json": json.dumps({"name": name, "version": version}).encode()}


@dataclass
class Shop:
    """A farm with a registry of its own, and this machine's reader of layers."""

    farm: Farm
    deployed: Deployed
    reader: FactsReader

    def read_all(self) -> None:
        for _ in range(20):
            self.reader.newest._look_at = 0.0
            self.reader.turn()
            self.reader.pool.remove_used()
            if not self.farm.database.client.zcard(self.farm.database.key("facts-wanted", "images")):
                return
        raise AssertionError("layers are still unread")


@pytest.fixture(scope="module")
def shop(services) -> Iterator[Shop]:
    own = services.model_copy(
        update={
            "node_id": f"test-{uuid.uuid4().hex[:8]}", "namespace": f"test-{uuid.uuid4().hex[:8]}:",
            "warm_sandboxes": 0, "builder": "", "layer_facts": True,
        }
    )  # fmt: skip
    with ExitStack() as stack:
        machine = stack.enter_context(
            open_farm(services.model_copy(update={"node_id": own.node_id, "warm_sandboxes": 0}))
        )
        client = stack.enter_context(closing(open_engine(own.docker_url)))
        tools = make_tools(machine.settings, machine, client, Metrics())
        registry = stack.enter_context(registry_on(stack.enter_context(storage_folder()), own.docker_url))
        own = own.model_copy(update={"registry_url": f"http://{registry.host}"})
        farm = stack.enter_context(open_farm(own))
        reader = open_facts(farm, replace(tools, registry=farm.registry), Nodes(farm.database), list, Metrics())
        made = Shop(farm, Deployed(farm), reader)
        base = made.deployed.base(CREATED, files=DPKG)
        farm.promote_builder(base)
        made.deployed.app("shop/old", base, files=npm("lodash", "4.17.20") | npm("ms", "2.1.3"))
        made.deployed.app("other/new", base, files=npm("lodash", "4.17.21"))
        yield made
        tools.pool.empty()
        tools.pool.remove_used()
        empty_namespace(own)


def test_queries_find_exactly_the_apps_that_contain_a_component(shop):
    with pytest.raises(NotReadYetError):
        shop.farm.sbom("shop/old")
    assert shop.farm.where("npm/lodash").unknown_apps == 2
    shop.read_all()
    found = shop.farm.where("npm/lodash@<4.17.21")
    assert [(place.app, place.version, place.in_base) for place in found.places] == [("shop/old", "4.17.20", False)]
    assert (found.apps, found.searched, found.unknown_apps) == (1, 2, 0)
    assert all(place.since > 0 and place.base.startswith("builder@") for place in found.places)
    assert [place.app for place in shop.farm.inventory.where("npm/lodash", tenant="other", limit=9).places] == [
        "other/new"
    ]
    in_base = shop.farm.where("deb/openssl@<3.5.2")
    assert {(place.app, place.component, place.in_base) for place in in_base.places} == {
        (app, f"deb/{name}", True) for app in ("other/new", "shop/old") for name in ("libssl3t64", "openssl")
    }
    with pytest.raises(RequestError, match="does not name a component"):
        shop.farm.where("lodash")


def test_equal_images_have_equal_bills_and_the_base_is_added_on_request(shop):
    shop.read_all()
    own = json.loads(shop.farm.sbom("shop/old"))
    assert [one["purl"] for one in own["components"] if "purl" in one] == ["pkg:npm/lodash@4.17.20", "pkg:npm/ms@2.1.3"]
    whole = json.loads(shop.farm.sbom("shop/old", with_base=True))
    assert {one["name"] for one in whole["components"]} >= {"lodash", "ms", "openssl", "libssl3t64"}
    assert json.loads(shop.farm.sbom("shop/old", form="spdx"))["spdxVersion"] == "SPDX-2.3"
    base = shop.farm.contents(shop.farm.builder())
    assert [one.source for one in base.components] == ["openssl@3.5.1-1", "openssl@3.5.1-1"]
    with pytest.raises(NotFoundError):
        shop.farm.sbom("shop/none")


def test_over_http_a_tenant_sees_its_own_images_alone(shop):
    shop.read_all()
    with serving(
        shop.farm, BUILDFARM_LAYER_FACTS="true", BUILDFARM_REGISTRY_URL=shop.farm.settings.registry_url
    ) as api:
        with Client(api.url, api.token(None, "read")) as operator, Client(api.url, api.token("shop", "read")) as own:
            assert operator.sbom("shop/old", form="spdx") == shop.farm.sbom("shop/old", form="spdx")
            assert own.contents("shop/old", with_base=True) == shop.farm.contents("shop/old", with_base=True)
            assert operator.contents(shop.farm.builder()).base == ""
            assert operator.where("npm/lodash").apps == 2
            assert [place.app for place in own.where("npm/lodash").places] == ["shop/old"]
            told = []
            for image in ("other/new", "other/none", shop.farm.builder()):
                with pytest.raises(NotFoundError) as raised:
                    own.sbom(image)
                told.append(raised.value.message.replace(image, "IMAGE"))
            assert set(told) == {"There is no image IMAGE."}
        with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as tab:
            tab.post("/sign-in", data={"token": api.token("shop", "read")})
            text = tab.get("/where", params={"q": "npm/lodash@<5"}).text
            assert "/apps/shop/old" in text
            assert "other/new" not in text
            assert "does not name a component" in tab.get("/where", params={"q": "<script>alert(1)</script>"}).text
            assert 'href="/where?q=npm/lodash%40%3C5"' in tab.get("/search", params={"q": "npm/lodash@<5"}).text


def test_what_redis_has_lost_is_read_again(shop):
    shop.read_all()
    before = shop.farm.sbom("other/new")
    database = shop.farm.database
    (layer,) = ComponentStore(database).images()["apps/other/new"].layers
    database.client.delete(components_key(database, Digest(layer)), database.key("components-asked"))
    assert shop.farm.where("npm/ms").unknown == ("other/new",)
    with pytest.raises(NotReadYetError):
        shop.farm.sbom("other/new")
    shop.read_all()
    assert shop.farm.where("npm/ms").unknown == ()
    assert shop.farm.sbom("other/new") == before


def test_since_when_stays_with_the_layer_that_has_it(shop):
    shop.read_all()
    before = {place.app: place.since for place in shop.farm.where("npm/ms").places}
    assert set(before) == {"shop/old"}
    base = shop.farm.builder()
    shop.deployed.app("shop/old", base, files=npm("lodash", "4.17.20") | npm("ms", "2.1.3"), variables=2)
    shop.read_all()
    assert {place.app: place.since for place in shop.farm.where("npm/ms").places} == before


def test_an_app_whose_list_is_not_whole_is_named_and_not_asked_for_again(shop):
    base = shop.farm.builder()
    shop.deployed.app("shop/dark", base, files=npm("x", "1") | {"app/node_modules/y/package.json": b"{"})
    shop.read_all()
    shop.farm.database.client.delete(shop.farm.database.key("components-asked"))
    found = shop.farm.where("npm/lodash")
    assert (found.incomplete, found.incomplete_apps, found.unknown_apps) == (("shop/dark",), 1, 0)
    assert not shop.farm.database.client.exists(shop.farm.database.key("components-asked"))


def test_rows_are_kept_until_all_images_have_been_noted_again(shop):
    store = ComponentStore(shop.farm.database)
    base, gone = f"builder@sha256:{'2' * 64}", "apps/shop/gone"
    store.note_image(base, f"sha256:{'2' * 64}", "", [])
    store.note_image(gone, f"sha256:{'3' * 64}", base, [])
    shop.farm.where("npm/lodash")
    assert {base, gone} <= store.images().keys()
    store.keep_images(store.images().keys() - {base, gone})
    assert not {base, gone} & store.images().keys()


def test_what_is_known_of_an_image_and_its_base_stays_while_it_cannot_be_read(shop):
    store = ComponentStore(shop.farm.database)
    base, app, digest, layer = (
        f"builder@sha256:{'5' * 64}",
        "apps/shop/dark",
        f"sha256:{'6' * 64}",
        f"sha256:{'7' * 64}",
    )
    store.note_image(base, f"sha256:{'5' * 64}", "", [layer])
    store.note_image(app, digest, base, [layer])
    before = store.images()[app]
    store.note_image(app, digest, "", ())
    store.keep_images(store.images().keys() - {base})
    assert (store.images()[app], base in store.images()) == (before, True)
    store.note_image(app, f"sha256:{'8' * 64}", "", ())
    assert store.images()[app].layers == {}
    store.keep_images(store.images().keys() - {base, app})
    assert not {base, app} & store.images().keys()


def test_images_are_asked_for_by_name_and_taken_once(shop):
    database = shop.farm.database
    database.client.delete(database.key("components-asked"))
    store = ComponentStore(database)
    store.ask(f"apps/a/{number}" for number in range(700))
    store.ask(["apps/a/too-soon"])
    assert store.asked() == tuple(f"apps/a/{number}" for number in range(500))
    assert store.asked() == ()
    assert 0 < database.client.ttl(database.key("components-asked")) <= 300


def test_a_list_of_an_app_takes_less_of_redis_than_one_of_a_base(shop):
    store, layer = ComponentStore(shop.farm.database), f"sha256:{'4' * 64}"
    rows = {f"app/{secrets.token_hex(40)}": [["npm", "x", "1", "", ""]] for _ in range(2000)}
    told = {"version": COMPONENTS_VERSION, "files": rows, "removed": [], "unread": {}}
    packed = zlib.compress(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
    store.put(layer, packed, of_base=True)
    assert len(store.get([layer])[layer].files) == 2000
    store.put(layer, packed, of_base=False)
    assert store.get([layer])[layer].unread == {
        "": f"the list of its components takes {len(packed):,} bytes, and 65,536 are kept"
    }


def test_a_bill_waits_for_a_layer_that_could_not_be_read_and_the_list_declares_it(shop):
    base, store = shop.farm.builder(), FactsStore(shop.farm.database)
    shop.deployed.app("shop/failing", base, files=npm("lodash", "4.17.20"))
    shop.read_all()
    (layer,) = ComponentStore(store.database).images()["apps/shop/failing"].layers
    whole = shop.farm.sbom("shop/failing")
    store.database.client.delete(components_key(store.database, Digest(layer)))
    store.put(Digest(layer), LayerFacts(unknown="it is damaged"), failed=True)
    with pytest.raises(NotReadYetError, match="could not be read") as raised:
        shop.farm.sbom("shop/failing")
    assert raised.value.retry_after_seconds == 3600
    assert shop.farm.contents("shop/failing").unread == ("a layer could not be read",)
    store.database.client.delete(failed_key(store.database, Digest(layer)))
    with pytest.raises(NotReadYetError, match="not been read yet"):
        shop.farm.sbom("shop/failing")
    shop.read_all()
    assert shop.farm.sbom("shop/failing") == whole


@pytest.mark.parametrize("image", ["a:..x", "builder:none", "apps/shop/old:-x", "shop/old@sha256:1"])
def test_what_names_no_image_is_not_found(shop, image):
    with pytest.raises(NotFoundError):
        shop.farm.sbom(image)
