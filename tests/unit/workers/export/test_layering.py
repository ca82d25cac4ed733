"""Layers by origin: a pure function of the tree, and the same tree whatever the layers."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.oci.tree import Found
from workers.export.layering import MADE, SOURCE, plan_layers

MIB = 1024 * 1024


def make(sizes):
    names = {"app": None}
    for path, size in sizes.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            names.setdefault("app/" + "/".join(parts[:depth]), None)
        names[f"app/{path}"] = size
    ordered = sorted(names, key=lambda name: [os.fsencode(part) for part in name.split("/")])
    return [Found(name, names[name] is None, names[name] or 0, "", name) for name in ordered]


def origins(layers):
    return [layer.origin for layer in layers]


def names(layer):
    return [item.name for item in layer.found]


def plan(found, source, *, min_bytes=4 * MIB, layers_max=8):
    return plan_layers(found, source, min_bytes=min_bytes, layers_max=layers_max)


def test_what_came_in_is_on_top_and_big_made_folders_below():
    found = make(
        {"app.py": 100, "lib/x.py": 5, "node_modules/a/b.js": 5 * MIB, "small/c": 10, "lib/x.pyc": 7, ".profile.d/p": 1}
    )
    layers = plan(found, {"app/app.py", "app/lib", "app/lib/x.py"})
    assert origins(layers) == ["node_modules", MADE, SOURCE]
    assert names(layers[0]) == ["app", "app/node_modules", "app/node_modules/a", "app/node_modules/a/b.js"]
    assert names(layers[1]) == [
        "app", "app/.profile.d", "app/.profile.d/p", "app/lib", "app/lib/x.pyc", "app/small", "app/small/c",
    ]  # fmt: skip
    assert names(layers[2]) == ["app", "app/app.py", "app/lib", "app/lib/x.py"]


def test_a_hidden_folder_shared_by_several_is_looked_into():
    found = make({".heroku/python/a": 5 * MIB, ".heroku/node/b": 6 * MIB, ".heroku/tiny/c": 1, "main": 1})
    assert origins(plan(found, {"app/main"})) == [".heroku/node", ".heroku/python", MADE, SOURCE]


@pytest.mark.parametrize("inside", ["pyvenv.cfg", "BUILD_ID"])
def test_a_hidden_folder_with_files_of_its_own_is_one(inside):
    found = make({f".venv/{inside}": 1, ".venv/lib/a": 5 * MIB, ".venv/bin/b": 5 * MIB, "main": 1})
    assert origins(plan(found, {"app/main"})) == [".venv", SOURCE]


def test_the_smallest_join_the_rest_where_there_are_too_many():
    found = make({f"d{number}/x": (5 + number) * MIB for number in range(10)} | {"main": 1})
    layers = plan(found, {"app/main"}, layers_max=4)
    assert origins(layers) == ["d8", "d9", MADE, SOURCE]


def test_one_layer_is_the_whole_tree():
    found = make({"main": 1, "node_modules/x": 9 * MIB})
    (layer,) = plan(found, {"app/main"}, layers_max=1)
    assert list(layer.found) == found


def test_an_app_that_made_nothing_and_one_that_kept_nothing():
    assert origins(plan(make({"main": 1}), {"app/main"})) == [SOURCE]
    assert origins(plan(make({"made": 1}), {"app/gone"})) == [MADE, SOURCE]


def test_a_big_file_at_the_top_is_no_folder_and_stays_with_the_rest():
    assert origins(plan(make({"model.bin": 9 * MIB, "main": 1}), {"app/main"})) == [MADE, SOURCE]


def test_a_folder_of_its_own_is_named_so_that_tar_may_walk_it():
    found = make({".heroku/python/a": 5 * MIB, ".heroku/node/b": 6 * MIB, "main": 1})
    layers = plan(found, {"app/main"})
    assert [layer.folder for layer in layers] == ["app/.heroku/node", "app/.heroku/python", ""]
    assert names(layers[0]) == ["app", "app/.heroku", "app/.heroku/node", "app/.heroku/node/b"]


PATHS = st.lists(st.sampled_from(["a", "b", ".c", "d"]), min_size=1, max_size=3).map("/".join)


@given(
    sizes=st.dictionaries(PATHS, st.one_of(st.none(), st.integers(0, 10)), max_size=12),
    chosen=st.sets(PATHS),
    min_bytes=st.integers(0, 20),
    layers_max=st.integers(1, 6),
)
def test_every_entry_is_in_some_layer_with_its_folders_before_it(sizes, chosen, min_bytes, layers_max):
    files = {path for path, size in sizes.items() if size is not None}
    sizes = {path: size for path, size in sizes.items() if not any(path.startswith(f"{file}/") for file in files)}
    found = make(sizes)
    parts = [f"app/{path}".split("/") for path in chosen]
    source = {"/".join(names[:depth]) for names in parts for depth in range(2, len(names) + 1)}
    layers = plan(found, source, min_bytes=min_bytes, layers_max=layers_max)
    assert len(layers) <= layers_max
    assert layers[-1].origin == SOURCE
    assert {name for layer in layers for name in names(layer)} == {item.name for item in found}
    homes = {}
    for layer in layers:
        seen = set()
        for item in layer.found:
            assert item.name not in seen
            assert item.name == "app" or item.name.rpartition("/")[0] in seen
            seen.add(item.name)
            if not item.is_folder:
                assert homes.setdefault(item.name, layer.origin) == layer.origin
    if layers_max > 1:
        assert all((homes[name] == SOURCE) == (name in source) for name in homes)
    assert plan(found, source, min_bytes=min_bytes, layers_max=layers_max) == layers
