"""Recipes: what they say, what is filled in, and what is refused with which sentence."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import RecipeError, SetupError
from buildfarm.recipes import folder
from buildfarm.recipes.folder import build_order, find_recipes, read_recipe, recipes_folder, slim_plan
from buildfarm.recipes.parts import Budget
from buildfarm.recipes.recipe import IMAGER_VERSION, DockerfileRecipe, SlimRecipe, parse_recipe

IMAGES = Path(__file__).parents[4] / "images"
RECIPE = """
name = "store"
summary = "A store"
[versions."1"]
suite = "bookworm"
[versions."2"]
suite = "trixie"
packages = ["more"]
budget = { uncompressed_mb = 2, compressed_mb = 1 }
[slim]
packages = ["store-{version}"]
programs = ["/usr/lib/store/{version}/bin/store"]
[image]
entrypoint = ["/start"]
user = 999
volume = "/data"
port = 1
health = ["/usr/lib/store/{version}/bin/ask"]
environment = { DATA = "/data/{version}" }
[budget]
uncompressed_mb = 1
compressed_mb = 0.5
[smoke]
write = { run = ["w"], prints = "ok" }
read = { run = ["r"], prints = "ok" }
"""


TOOL = """
name = "tool"
summary = "No server"
made_from = ["base"]
[dockerfile]
context = ".."
takes = ["tool", "shared/file"]
file = "tool/Dockerfile"
target = "small"
arguments = { STACK = "{version}" }
trusts = "ca.crt"
[versions.trixie]
suite = "trixie"
[budget]
uncompressed_mb = 1
compressed_mb = 0.5
[[smoke.features]]
name = "it is there"
run = ["tool", "--version"]
prints = "1"
"""


def test_a_version_has_what_all_have_and_its_own():
    old, new = (parse_recipe(RECIPE.encode()).plan(version) for version in ("1", "2"))
    assert (old.suite, new.suite) == ("bookworm", "trixie")
    assert (old.slim.packages, new.slim.packages) == (("store-1",), ("store-2", "more"))
    assert new.slim.programs == ("/usr/lib/store/2/bin/store",)
    assert new.image.health == ("/usr/lib/store/2/bin/ask",)
    assert new.image.environment == {"DATA": "/data/2"}
    assert (old.budget.uncompressed_mb, new.budget.uncompressed_mb) == (1, 2)


def test_the_last_version_is_meant_where_none_is_named():
    assert parse_recipe(RECIPE.encode()).default_version == "2"


def test_a_version_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(RecipeError, match=r"store has no version '3'\. Its versions are 1, 2\."):
        parse_recipe(RECIPE.encode()).plan("3")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[smoke]", "[smoke", "not valid TOML"),
        ('name = "store"', "", "name: Field required"),
        ("user = 999", "user = 0", "image.user"),
        ("port = 1", "port = 1\nprivileged = true", "image.privileged"),
        ('volume = "/data"', 'volume = "data"', "image.volume"),
        ("[smoke]", '[smoke]\npassword_file = "X"', "belong together"),
        ('suite = "trixie"', 'suite = "trixie; rm"', "suite"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_told_by_its_field(old, new, told):
    with pytest.raises(RecipeError, match=told):
        parse_recipe(RECIPE.replace(old, new).encode())


def test_a_recipe_with_a_dockerfile_says_what_is_built_of_what():
    recipe = parse_recipe(TOOL.encode())
    plan = recipe.plan(recipe.default_version)
    assert isinstance(recipe, DockerfileRecipe)
    assert (plan.suite, plan.dockerfile.target, plan.dockerfile.trusts) == ("trixie", "small", "ca.crt")
    assert plan.dockerfile.arguments == {"STACK": "trixie"}
    assert [feature.name for feature in plan.smoke.features] == ["it is there"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[budget]", "[image]\nuser = 1\nentrypoint = []\n[budget]", "either"),
        ("[budget]", "[slim]\n[budget]", "either"),
        ("dockerfile]", "slim]", "slim.context"),
        ('context = ".."', 'context = "/etc"', "dockerfile.context"),
        ('context = ".."', 'context = "../etc"', "dockerfile.context"),
        ('"shared/file"', '"../../etc/passwd"', "plain path below the context"),
        ('"shared/file"', '"/etc/passwd"', "plain path below the context"),
        ('file = "tool/Dockerfile"', 'file = "./Dockerfile"', "dockerfile.file"),
        ('trusts = "ca.crt"', 'trusts = "../ca.crt"', "dockerfile.trusts"),
        ('takes = ["tool", "shared/file"]', "takes = []", "dockerfile.takes"),
        ("STACK =", '"ST ACK" =', "dockerfile.arguments"),
        ('suite = "trixie"', 'suite = "trixie"\npackages = ["x"]', "versions.trixie.packages"),
        (TOOL[TOOL.index("[[smoke") :], "[smoke]\n", "smoke.features"),
    ],
)
def test_a_dockerfile_that_cannot_be_meant_is_told_by_its_field(old, new, told):
    assert old in TOOL
    with pytest.raises(RecipeError, match=told):
        parse_recipe(TOOL.replace(old, new).encode())


def test_what_a_dockerfile_takes_along_keeps_its_place_and_its_links(tmp_path):
    for name in ("tool/Dockerfile", "tool/__pycache__/old.pyc", "shared/file", "shared/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "tool/link").symlink_to("/etc/passwd")
    dockerfile = parse_recipe(TOOL.encode()).dockerfile
    dockerfile.take_along(tmp_path / "tool", tmp_path / "context")
    found = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*")}
    assert found == {"tool", "tool/Dockerfile", "tool/link", "shared", "shared/file"}
    assert (tmp_path / "context/tool/link").is_symlink()
    (tmp_path / "shared/file").unlink()
    with pytest.raises(RecipeError, match="shared/file, which does not exist"):
        dockerfile.take_along(tmp_path / "tool", tmp_path / "again")


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(content):
    with contextlib.suppress(RecipeError):
        parse_recipe(content)


def test_a_recipe_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"no recipe\.toml"):
        find_recipes(tmp_path)


def test_a_budget_says_what_is_over_it():
    budget = Budget(uncompressed_mb=20, compressed_mb=8)
    assert budget.overrun(20_000_000, 8_000_000) == ""
    assert budget.overrun(20_500_000, 8_000_000) == "20.50 MB uncompressed of 20"
    assert budget.overrun(21_000_000, 9_000_000) == "21.00 MB uncompressed of 20 and 9.00 MB compressed of 8"


def test_what_an_image_is_made_from_comes_before_it():
    made_from = {"redis": ["imager"], "imager": ["base"], "builder": ["base"]}
    assert build_order("redis", made_from) == ["base", "imager", "redis"]
    assert build_order("builder", made_from) == ["base", "builder"]
    with pytest.raises(RecipeError, match="depends on itself"):
        build_order("a", {"a": ["b"], "b": ["a"]})


@pytest.mark.parametrize("name", sorted(find_recipes(IMAGES)))
def test_every_recipe_of_ours_can_be_planned(name, tmp_path):
    folder = find_recipes(IMAGES)[name]
    recipe = read_recipe(folder)
    for version in recipe.versions:
        plan = recipe.plan(version)
        assert "{version}" not in plan.model_dump_json()
        assert plan.smoke.features or name == "registry"
    if isinstance(recipe, DockerfileRecipe):
        recipe.dockerfile.take_along(folder, tmp_path)
        assert (tmp_path / recipe.dockerfile.file).is_file()
        return
    for command in (recipe.image.entrypoint, recipe.image.health):
        script = folder / "root" / command[0].lstrip("/")
        assert not script.is_file() or script.stat().st_mode & 0o111


def test_databases_keep_their_secrets_in_files_and_refuse_wrong_ones():
    for name in ("redis", "valkey", "postgresql", "mysql"):
        smoke = read_recipe(IMAGES / "databases" / name).smoke
        assert smoke.password_file.endswith("_FILE")
        assert smoke.refused


def test_the_imager_that_nodes_look_for_is_the_one_that_is_built():
    assert read_recipe(IMAGES / "imager").default_version == IMAGER_VERSION


def test_each_kind_of_recipe_is_told_from_the_other():
    assert isinstance(read_recipe(IMAGES / "registry"), SlimRecipe)
    assert slim_plan(IMAGES / "registry", "trixie").name == "registry"
    with pytest.raises(RecipeError, match="not made of files from packages"):
        slim_plan(IMAGES / "builder", "trixie")


def test_recipes_are_the_wheels_own_or_else_the_checkouts(monkeypatch, tmp_path):
    assert recipes_folder() == IMAGES
    monkeypatch.setattr(folder, "INSTALLED_RECIPES", tmp_path)
    assert recipes_folder() == tmp_path
    monkeypatch.setattr(folder, "INSTALLED_RECIPES", tmp_path / "absent")
    monkeypatch.setattr(folder, "CHECKOUT_RECIPES", tmp_path / "absent")
    with pytest.raises(SetupError, match="missing from this installation"):
        recipes_folder()
