"""Recipes of other releases, and MongoDB's with another client: each is the image's own with a few changes."""

from __future__ import annotations

import pytest

from buildfarm.recipes.folder import CHECKOUT_RECIPES, find_recipes, slim_plan
from verify.images.conditions.neighbours import NEIGHBOURS
from verify.images.mongodb import NAME, VERSION, make_recipe


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=lambda each: f"{each.name} {each.version}")
def test_a_neighbour_differs_from_the_image_in_where_its_server_is_from(tmp_path, neighbour):
    ours = slim_plan(find_recipes(CHECKOUT_RECIPES)[neighbour.recipe], neighbour.version)
    other = slim_plan(neighbour.write(tmp_path / "recipe"), neighbour.version)
    assert other.name == neighbour.name
    if neighbour.kind == "newer":
        assert (other.suite, other.slim) == ("sid", ours.slim)
    else:
        assert other.suite == ours.suite
        assert [name for name in other.slim.packages if name.startswith(neighbour.package) and f"/{ours.suite}" in name]
        assert {name.partition("/")[0] for name in other.slim.packages} >= set(ours.slim.packages)


def test_mongodbs_recipe_with_another_client_keeps_the_start_script(tmp_path):
    (tmp_path / "archive").write_bytes(b"an archive")
    folder = make_recipe(tmp_path / "recipe", NAME, tmp_path / "archive")
    assert slim_plan(folder, VERSION).image.health[0] == "/usr/bin/ask"
    own = find_recipes(CHECKOUT_RECIPES)["mongodb"]
    assert (folder / "root/start").read_text() == (own / "root/start").read_text()
    assert "make_user() {" in (folder / "root/usr/lib/start/user").read_text()
