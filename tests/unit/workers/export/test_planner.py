"""A folder that is known to be unchanged is not listed, and the layers are the same."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import TooLargeError
from buildfarm.oci.layer import hash_raw
from workers.build_folder import BuildFolder
from workers.export.app_files import AppFiles
from workers.export.planner import Planner
from workers.export.secret_scan import SecretScan

MIN_BYTES = 1000


@pytest.fixture
def planner():
    return Planner("gzip", MIN_BYTES, 5, 10**9)


def app(root, unchanged, source=(), left_out=()):
    names = frozenset(f"app/{name}" for name in source)
    return AppFiles(BuildFolder(root), names, frozenset(left_out), b"", "apps/t/a", SecretScan(), unchanged)


def write(root, path, content=b"x"):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def digests(layers):
    """Of each layer, whatever it is known by."""
    return [
        (layer.origin, hash_raw(layer.archive.argv, prefix=layer.prefix, names=layer.archive.names), layer.shape)
        for layer in layers
    ]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "app"
    write(root, "app.py")
    write(root, ".venv/bin/python", b"p" * 2000)
    write(root, ".venv/pyvenv.cfg")
    write(root, ".heroku/one/file", b"1" * 3000)
    write(root, ".heroku/two/file", b"2" * 2000)
    write(root, "small/file", b"s")
    return root


UNCHANGED = {".venv": "snapshot-1 /spare/venv", ".heroku/one": "snapshot-1 /spare/one", "small": "snapshot-1 /spare/s"}


def test_the_second_plan_lists_nothing_in_the_folder_and_is_the_same(planner, root):
    known = app(root, UNCHANGED, ["app.py"])
    first = planner.plan(known)
    write(root, ".venv/added", b"nobody may see this")  # a listing would find it
    again = planner.plan(known)
    assert [layer.origin for layer in again] == [layer.origin for layer in first]
    assert [layer.identity for layer in again[:2]] == [layer.identity for layer in first[:2]]
    (root / ".venv/added").unlink()
    assert digests(again) == digests(first)
    assert digests(again) == digests(planner.plan(app(root, {}, ["app.py"])))


def test_a_folder_that_is_no_layer_is_listed(planner, root):
    known = app(root, UNCHANGED, ["app.py"])
    planner.plan(known)
    write(root, "small/added", b"seen")
    assert digests(planner.plan(known)) == digests(planner.plan(app(root, {}, ["app.py"])))


@pytest.mark.parametrize(
    ("source", "left_out"),
    [([".venv", ".venv/added"], ()), ([".venv", ".venv/added"], ["app/.venv/added"])],
    ids=["of the source", "left out"],
)
def test_a_folder_that_came_in_with_the_source_too_is_listed(planner, root, source, left_out):
    planner.plan(app(root, UNCHANGED, ["app.py"]))
    write(root, ".venv/added", b"of the source")
    known = app(root, UNCHANGED, ["app.py", *source], left_out)
    assert digests(planner.plan(known)) == digests(planner.plan(app(root, {}, ["app.py", *source], left_out)))


def test_a_layer_is_another_if_the_mode_of_its_folder_is(planner, root):
    known = app(root, UNCHANGED, ["app.py"])
    first = planner.plan(known)
    (root / ".heroku").chmod(0o700)
    again = planner.plan(known)
    changed = [one.origin for one, other in zip(first, again, strict=True) if one.identity != other.identity]
    assert ".heroku/one" in changed and ".venv" not in changed


def test_a_folder_with_hard_links_is_not_listed_and_its_content_counts_once(planner, root):
    """Its bytes are those of its layer, whether it is listed or not: the limit of the image is met either way."""
    for number in range(3):
        os.link(root / ".venv/bin/python", root / f".venv/bin/python3.{number}")
    all_bytes = 2000 + 3000 + 2000 + 3  # python once, one, two, and three files of a byte
    planner = dataclasses.replace(planner, image_bytes=all_bytes)
    known = app(root, UNCHANGED, ["app.py"])
    first = planner.plan(known)
    write(root, ".venv/added")
    again = planner.plan(known)
    assert [layer.identity for layer in again[:2]] == [layer.identity for layer in first[:2]]
    with pytest.raises(TooLargeError):
        dataclasses.replace(planner, image_bytes=all_bytes - 1).plan(known)


def test_hard_links_do_not_make_a_folder_large_enough_for_a_layer(planner, root):
    write(root, "links/0", b"x" * (MIN_BYTES - 1))
    for number in range(1, 4):
        os.link(root / "links/0", root / f"links/{number}")
    known = app(root, {**UNCHANGED, "links": "snapshot-1 /spare/links"}, ["app.py"])
    assert "links" not in [layer.origin for layer in planner.plan(known)]
    assert digests(planner.plan(known)) == digests(planner.plan(app(root, {}, ["app.py"])))


def test_a_folder_that_is_a_layer_in_one_place_may_be_two_in_another(planner, root):
    for name in ("one", "two"):
        write(root, f"made/{name}/file", b"m" * 2000)
    which = "snapshot-1 /spare/made"
    planner.plan(app(root, {"made": which}))
    (root / "made").rename(root / ".made")
    moved = app(root, {".made": which})
    assert digests(planner.plan(moved)) == digests(planner.plan(app(root, {})))


def test_where_the_plan_changes_a_closed_folder_is_opened(root):
    planner = Planner("gzip", MIN_BYTES, 4, 10**9)
    known = app(root, UNCHANGED, ["app.py"])
    planner.plan(known)
    for name in ("larger", "largest"):
        write(root, f"{name}/file", b"l" * 10_000)
    assert digests(planner.plan(known)) == digests(planner.plan(app(root, {}, ["app.py"])))


NAMES = st.text(alphabet="ab.*?[\\", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


@settings(deadline=None)
@given(
    folders=st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(0, 3000), max_size=3), max_size=5),
    source=st.sets(NAMES, max_size=3),
    layers_max=st.integers(1, 5),
)
def test_any_tree_has_the_same_layers_with_folders_closed(folders, source, layers_max):
    planner = Planner("gzip", MIN_BYTES, layers_max, 10**9)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "app"
        root.mkdir()
        for folder, files in folders.items():
            (root / folder).mkdir()
            for name, size in files.items():
                (root / folder / name).write_bytes(b"x" * size)
        known = app(root, {folder: f"s /{folder}" for folder in folders}, source)
        planner.plan(known)
        assert digests(planner.plan(known)) == digests(planner.plan(app(root, {}, source)))
