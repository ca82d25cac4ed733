"""A query over all apps finds each place, counts what it cannot answer, and asks only for what may be had."""

from __future__ import annotations

import pytest

from buildfarm.releases.facts.components import layer, where
from buildfarm.releases.facts.components.component import Component
from buildfarm.releases.facts.components.cyclonedx import cyclonedx, unread_of
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.image import Part
from buildfarm.releases.facts.components.layer import LayerComponents, merged
from buildfarm.releases.facts.components.store import ImageLayers
from buildfarm.releases.facts.components.where import Search

MS = Component("npm", "ms", "2.1.3")
ODD = Component("npm", "ms", "latest")
APP = LayerComponents({"app/node_modules/ms/package.json": (MS,)})


class Store:
    """Layers with components, and the images that have them."""

    database = None

    def __init__(self, layers, images, partly=()):
        self.layers, self.rows, self.partly, self.asked, self.decoded = layers, images, set(partly), [], []

    def images(self):
        return self.rows

    def naming(self, diff_ids, is_in):
        wanted = set(diff_ids)
        return wanted & self.layers.keys(), wanted - self.layers.keys() - self.partly, wanted & self.partly

    def get(self, diff_ids):
        wanted = list(diff_ids)
        self.decoded += wanted
        return {one: self.layers[one] for one in wanted if one in self.layers}

    def ask(self, names):
        self.asked = list(names)


def image(digest="1", base="b@1", layers=("x",)):
    return ImageLayers(digest, base, 1.0, dict.fromkeys(layers, 2.0))


BASE = ImageLayers("1", "", 1.0, {"base": 1.0})


@pytest.fixture
def find(monkeypatch):
    def search(store, text="npm/ms", tenant=None, limit=10, apps=("a",), *, first_only=False):
        targets = {f"apps/t/{name}": "1" for name in apps}
        monkeypatch.setattr(where, "tag_targets", lambda database: targets)
        return Search(store, Expression.parse(text), first_only=first_only).places(tenant, limit)

    return search


def test_a_version_that_cannot_be_compared_is_a_place_and_said_to_be_one(find):
    layers = {"x": LayerComponents({"a": (ODD,), "b": (MS,)}), "base": LayerComponents()}
    found = find(Store(layers, {"apps/t/a": image(), "b@1": BASE}), "npm/ms@<2")
    assert [(one.version, one.is_compared) for one in found.places] == [("latest", False)]
    assert (found.apps, found.uncompared_apps) == (0, 1)
    both = find(Store(layers, {"apps/t/a": image(), "b@1": BASE}), "npm/ms@<3")
    assert (len(both.places), both.apps, both.uncompared_apps) == (2, 1, 0)


@pytest.mark.parametrize(
    ("images", "layers", "unknown", "asked"),
    [
        ({"apps/t/a": image(), "b@1": BASE}, ("x", "base"), 0, []),
        ({}, (), 1, ["apps/t/a"]),
        ({"apps/t/a": image(), "b@1": BASE}, ("base",), 1, ["apps/t/a", "b@1"]),
        ({"apps/t/a": image(), "b@1": BASE}, ("x",), 1, ["apps/t/a", "b@1"]),
        ({"apps/t/a": image()}, ("x",), 1, ["apps/t/a", "b@1"]),
        ({"apps/t/a": image("0"), "b@1": BASE}, ("x", "base"), 1, []),  # a new image is looked at anyway
        ({"apps/t/a": image(layers=()), "b@1": BASE}, ("base",), 1, []),  # it cannot be read, and never will
        ({"apps/t/a": image(), "b@1": image(base="", layers=())}, ("x",), 1, []),  # likewise its base
        ({"apps/t/a": image(base="")}, ("x",), 0, []),
    ],
)
def test_what_is_not_known_is_counted_and_asked_for_if_it_can_be_had(find, images, layers, unknown, asked):
    store = Store(dict.fromkeys(layers, APP), images)
    assert find(store).unknown_apps == unknown
    assert store.asked == asked


def test_a_tenants_query_asks_for_nothing(find):
    store = Store({}, {})
    assert find(store, tenant="t").unknown == ("t/a",)
    assert store.asked == []


def test_all_apps_are_counted_and_at_most_as_many_places_returned_as_asked_for(find):
    many = LayerComponents({f"{number:04}": (MS,) for number in range(500)})
    images = {f"apps/t/{name}": image(layers=(name,)) for name in "abc"} | {"b@1": BASE}
    found = find(Store({**dict.fromkeys("abc", many), "base": LayerComponents()}, images), limit=7, apps="abc")
    assert (len(found.places), found.apps, found.searched) == (7, 3, 3)


def test_a_campaign_needs_one_place_of_each_app_s_own_layers_and_one_of_its_base(find):
    many = LayerComponents({f"{number:04}": (MS,) for number in range(500)})
    images = {f"apps/t/{name}": image(layers=(name,)) for name in "ab"} | {"b@1": BASE}
    of_base = LayerComponents({f"usr/{number}": (MS,) for number in range(9)})
    store = Store({"a": many, "b": LayerComponents({"x": (MS,)}), "base": of_base}, images)
    found = find(store, limit=100, apps="ab", first_only=True)
    assert sorted((one.app, one.in_base) for one in found.places) == [
        ("t/a", False), ("t/a", True), ("t/b", False), ("t/b", True),
    ]  # fmt: skip


def test_an_upper_layer_hides_what_it_replaces_and_removes(find):
    layers = {
        "base": LayerComponents({"usr/a": (MS,), "usr/b/c": (MS,)}), "x": LayerComponents({"usr/a": ()}, ("usr/b",)),
    }  # fmt: skip
    assert find(Store(layers, {"apps/t/a": image(), "b@1": BASE})).apps == 0


def test_many_removed_files_cost_no_more_than_few():
    files = {f"a/{number}/package.json": (MS,) for number in range(3000)}
    upper = LayerComponents({}, (*(f"b/{number}" for number in range(20_000)), "a/7"))
    assert merged([LayerComponents(files), upper]).files.keys() == files.keys() - {"a/7/package.json"}
    seven = {"a/7/package.json"}
    for gone, hidden in (
        ("/", files.keys()),
        ("a/", files.keys()),
        ("a", files.keys()),
        ("a/7/", seven),
        ("a/7", seven),
    ):
        assert merged([LayerComponents(files), LayerComponents({}, (gone,))]).files.keys() == files.keys() - hidden


def test_an_image_has_a_bound_of_components_and_what_is_left_out_is_declared(monkeypatch):
    monkeypatch.setattr(layer, "IMAGE_COMPONENTS_MAX", 5)
    layers = [LayerComponents({f"{number}/{one}": (MS, ODD) for one in range(2)}) for number in range(3)]
    found = merged(layers)
    assert sum(map(len, found.files.values())) == 5
    assert found.unread == {"": "7 more components, since a list has at most 5"}
    part = Part("apps/t/a@1", found, "")
    assert "7 more components, since a list has at most 5" in unread_of([part])
    assert cyclonedx([part]) == cyclonedx([Part("apps/t/a@1", merged(layers), "")])
