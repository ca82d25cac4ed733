"""Recipes in folders: finding and reading them, and the order in which they are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from buildfarm.errors import RecipeError, SetupError
from buildfarm.recipes.plan import SlimPlan
from buildfarm.recipes.recipe import RECIPE_FILE, DockerfileRecipe, SlimRecipe, parse_recipe

_TOP = Path(__file__).parents[2]
CHECKOUT_RECIPES = _TOP / "images"
INSTALLED_RECIPES = _TOP / "localfarm" / "recipes"  # setup.py puts a copy there


def read_recipe(folder: Path) -> SlimRecipe | DockerfileRecipe:
    """The recipe in this folder. Raises RecipeError."""
    path = folder / RECIPE_FILE
    try:
        return parse_recipe(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error


def slim_plan(folder: Path, version: str) -> SlimPlan:
    """One version of a recipe that is known to name files of packages. Raises RecipeError."""
    plan = read_recipe(folder).plan(version)
    if isinstance(plan, SlimPlan):
        return plan
    raise RecipeError(f"{plan.name} is not made of files from packages.")


def find_recipes(root: Path) -> dict[str, Path]:
    """The folders below ``root`` that hold a recipe, by its name. Raises RecipeError."""
    folders = sorted(path.parent for path in root.rglob(RECIPE_FILE))
    if not folders:
        raise RecipeError(
            f"There is no {RECIPE_FILE} below {root}.", advice="Run it from a checkout, or use --recipes."
        )
    return {read_recipe(folder).name: folder for folder in folders}


def build_order(wanted: str, made_from: Mapping[str, Iterable[str]]) -> list[str]:
    """``wanted`` and everything it is made from, in build order. Raises RecipeError on a cycle."""
    needed, waiting = set[str](), [wanted]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(made_from.get(name, ()))
    try:
        return list(TopologicalSorter({name: made_from.get(name, ()) for name in sorted(needed)}).static_order())
    except CycleError as error:
        raise RecipeError(f"{wanted} depends on itself: {' needs '.join(error.args[1])}.") from error


def recipes_folder() -> Path:
    """The farm's own recipes: `images/` of this checkout, or what an installed wheel has of it. Raises SetupError."""
    for folder in (INSTALLED_RECIPES, CHECKOUT_RECIPES):
        if folder.is_dir():
            return folder
    raise SetupError(
        "The recipes of the farm's images are missing from this installation.",
        advice="Install buildfarm anew from its wheel, or run it from a checkout.",
    )
