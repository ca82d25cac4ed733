"""An image of a tree: the same bytes every time, and the config that its recipe asks for."""

from __future__ import annotations

import json
import tarfile

import pytest

from buildfarm.errors import TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.recipes.parts import Budget
from buildfarm.recipes.recipe import parse_recipe
from tests.unit.buildfarm.recipes.test_recipe import RECIPE
from workers.build_folder import BuildFolder
from workers.image_builds.slim import check_budget, make_image, volume_mode, write_archive

PLAN = parse_recipe(RECIPE.encode()).plan("1")


def make(tree, blob):
    return make_image(BuildFolder(tree), PLAN, ["libc6=1"], blob, kind="docker", threads=2)


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/store").write_bytes(b"program" * 1000)
    (tree / "usr/bin/store").chmod(0o4755)
    (tree / "bin").symlink_to("usr/bin")
    return tree


def test_the_same_tree_is_the_same_image(tree, tmp_path):
    first = make(tree, tmp_path / "one")
    (tree / "usr/bin/store").touch()
    second = make(tree, tmp_path / "two")
    assert first.image.digest == second.image.digest
    assert first.layers[0].digests == second.layers[0].digests
    assert Digest.of((tmp_path / "one").read_bytes()) == first.layers[0].digests.digest


def test_the_data_folder_is_the_users_and_nothing_else_is(tree, tmp_path):
    make(tree, tmp_path / "layer")
    with tarfile.open(tmp_path / "layer") as archive:
        entries = {entry.name.removeprefix("./"): entry for entry in archive}
    assert entries["data"].uid == 999
    assert entries["data"].mode == 0o1777
    assert entries["tmp"].mode == 0o1777
    assert {entry.uid for name, entry in entries.items() if name != "data"} == {0}
    assert entries["usr/bin/store"].mode == 0o755
    assert entries["bin"].linkname == "usr/bin"


def test_a_server_that_no_script_of_ours_starts_keeps_its_volume_to_its_user():
    image = PLAN.image.model_copy(update={"entrypoint": ("/usr/bin/store", "serve")})
    assert volume_mode(PLAN.model_copy(update={"image": image})) == 0o700


def test_the_config_says_how_it_runs(tree, tmp_path):
    config = json.loads(make(tree, tmp_path / "layer").image.config)
    runtime = config["config"]
    assert runtime["User"] == "999:999"
    assert runtime["Volumes"] == {"/data": {}}
    assert runtime["ExposedPorts"] == {"1/tcp": {}}
    assert runtime["StopSignal"] == "SIGTERM"
    assert runtime["Healthcheck"]["Test"] == ["CMD", "/usr/lib/store/1/bin/ask"]
    assert "DATA=/data/1" in runtime["Env"]
    assert runtime["Labels"]["io.buildfarm.packages"] == "libc6=1"
    assert config["created"] == "1970-01-01T00:00:01Z"


def test_an_archive_for_the_engine_names_the_config_by_its_digest(tree, tmp_path):
    image = make(tree, tmp_path / "layer")
    write_archive(image, "buildfarm/store:1", tmp_path / "archive")
    with tarfile.open(tmp_path / "archive") as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))
        content = archive.extractfile(listed["Config"]).read()
    assert listed["RepoTags"] == ["buildfarm/store:1"]
    assert listed["Config"] == f"{Digest.of(content).hex}.json"
    assert content == image.image.config


def test_an_image_over_its_budget_is_refused_with_the_figures(tree, tmp_path):
    image = make(tree, tmp_path / "layer")
    check_budget(Budget(uncompressed_mb=1, compressed_mb=1), image, "store 1")
    with pytest.raises(TooLargeError, match=r"store 1 is over its budget: 0\.0\d MB uncompressed of 0\.001"):
        check_budget(Budget(uncompressed_mb=0.001, compressed_mb=1), image, "store 1")
