"""``buildfarm images build|list`` and ``buildfarm tools make|list``: what the farm makes for itself."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.build import exit_of, follow
from buildfarm.cli.builds import fields_of
from buildfarm.cli.error_handler import inside_farm, json_option
from buildfarm.errors import RequestError

if TYPE_CHECKING:
    import pydantic

    from buildfarm import model
    from buildfarm.cli import refusals
    from buildfarm.cli import show as display
    from buildfarm.farm import Farm
    from buildfarm.model import Build
    from buildfarm.oci import manifest
    from buildfarm.recipes import catalogue
    from buildfarm.recipes import folder as folder_module
    from buildfarm.recipes import recipe as recipe_module
    from buildfarm.recipes.recipe import Recipe
    from buildfarm.telemetry import units
else:
    units = LazyModule("buildfarm.telemetry.units")
    pydantic = LazyModule("pydantic")
    refusals = LazyModule("buildfarm.cli.refusals")
    display = LazyModule("buildfarm.cli.show")
    model = LazyModule("buildfarm.model")
    manifest = LazyModule("buildfarm.oci.manifest")
    catalogue = LazyModule("buildfarm.recipes.catalogue")
    folder_module = LazyModule("buildfarm.recipes.folder")
    recipe_module = LazyModule("buildfarm.recipes.recipe")

ARCHIVE = "archive"  # the name under which a file travels with its recipe

recipes_option = click.option(
    "--recipes",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the recipes are. Default: the farm's own.",
)


@click.group()
def images() -> None:
    """Build the farm's own images: databases, and what the farm runs on."""


@images.command(name="build", short_help="Build an image, after those it is made from.")
@click.argument("name")
@click.option("--version", help="A version of the recipe. Default: its last one.")
@click.option("--mirror", envvar="MIRROR", metavar="URL|FILE", help="Take a vendor's archive from here.")
@click.option("--sha256", metavar="HEX", help="SHA-256 of that archive, overriding the recipe's.")
@click.option("--detach", is_flag=True, help="Print the build's id without waiting for the build to end.")
@recipes_option
@json_option
def build_image(
    *,
    name: str,
    version: str | None,
    mirror: str | None,
    sha256: str | None,
    detach: bool,
    recipes: Path | None,
    as_json: bool,
) -> None:
    """Build the image NAME, after those it is made from, and show its log until it is in the registry."""
    folders = folder_module.find_recipes(recipes or folder_module.recipes_folder())
    if name not in folders:
        raise RequestError(
            f"There is no recipe {name[:60]!r}.", advice=f"The recipes are {', '.join(sorted(folders))}."
        )
    found = {each: folder_module.read_recipe(folder) for each, folder in folders.items()}
    found[name].plan(version or found[name].default_version)  # fails early if there is no such version
    console = display.terminal(stderr=as_json)
    with inside_farm() as farm:
        order = folder_module.build_order(name, {each: recipe.made_from for each, recipe in found.items()})
        for each in (step for step in order if step in found):
            wanted = version if each == name and version else found[each].default_version
            if each != name and farm.registry.has_manifest(f"{model.IMAGES}/{each}", wanted):
                continue
            given = {"mirror": mirror, "sha256": sha256} if each == name else {}
            submitted = submit(farm, folders[each], each, wanted, **given)
            if detach and each == name:
                click.echo(submitted.model_dump_json() if as_json else submitted.id)
                return
            ended = follow(farm, submitted.id, console, quiet=as_json)
            if each == name or ended.state is not model.State.SUCCEEDED:
                break
        if as_json:
            click.echo(json.dumps(fields_of(farm, ended)))
        else:
            display.show_build(console, ended, farm.image(ended) if ended.result else "")
    sys.exit(exit_of(ended))


@images.command(name="list", short_help="List the recipes and their versions.")
@recipes_option
@json_option
def list_images(*, recipes: Path | None, as_json: bool) -> None:
    """List the recipes, their versions, and which of them are in the registry."""
    with inside_farm() as farm:
        rows = [
            row
            for folder in folder_module.find_recipes(recipes or folder_module.recipes_folder()).values()
            for row in _rows(farm, folder_module.read_recipe(folder))
        ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = display.table("image", "version", "suite", "compressed", "digest")
    for row in rows:
        moved = units.size(int(str(row["compressed_bytes"]))) if row["digest"] else "not built"
        table.add_row(str(row["image"]), str(row["version"]), str(row["suite"]), moved, str(row["digest"] or "")[:19])
    display.terminal().print(table)


@click.group()
def tools() -> None:
    """Make the build tools that buildpacks find on every node: Go, Deno, bun, CMake and others."""


@tools.command(name="make", short_help="Make tools of the catalogue, in the registry.")
@click.argument("names", nargs=-1, metavar="NAME[@VERSION]...")
@click.option("--all", "every", is_flag=True, help="Make all versions of all tools that the registry lacks.")
@json_option
def make_tools(*, names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Make tools of the catalogue, and show the log of each until it is in the registry.

    Without a version, the catalogue's last one is made.
    """
    if bool(names) == every:
        raise RequestError("Name the tools to make, or use --all.", advice="`buildfarm tools list` shows them.")
    wanted = [catalogue.own_catalogue().find(text) for text in names]
    console = display.terminal(stderr=as_json)
    with inside_farm() as farm:
        if every:
            wanted = [(str(row["tool"]), str(row["version"])) for row in _tool_rows(farm) if not row["digest"]]
        for name, version in wanted:
            ended = follow(farm, submit_tool(farm, name, version).id, console, quiet=as_json)
            if as_json:
                click.echo(ended.model_dump_json())
            if ended.state is not model.State.SUCCEEDED:
                sys.exit(exit_of(ended))
            if not as_json and ended.result:
                click.echo(f"{name} {version}: {ended.result.repository}@{ended.result.digest}")


@tools.command(name="list", short_help="List tools and versions, and which the registry has.")
@json_option
def list_tools(*, as_json: bool) -> None:
    """List the catalogue's tools and versions, and which of them are in the registry."""
    with inside_farm() as farm:
        rows = list(_tool_rows(farm))
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = display.table("tool", "version", "from", "compressed", "digest")
    for row in rows:
        moved = units.size(int(str(row["compressed_bytes"]))) if row["digest"] else "not made"
        table.add_row(str(row["tool"]), str(row["version"]), str(row["from"]), moved, str(row["digest"] or "")[:19])
    display.terminal().print(table)


def submit_tool(farm: Farm, name: str, version: str) -> Build:
    """Sends the catalogue and asks for a tool of it. Raises what the farm raises."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / catalogue.CATALOGUE_FILE).write_bytes(catalogue.catalogue_bytes())
        source, _ = farm.pack(Path(folder), model.IMAGES)
    return farm.submit(model.ImageRequest(image=catalogue.tool_repository(name), version=version, source=source))


def _tool_rows(farm: Farm) -> Iterator[dict[str, object]]:
    known = catalogue.own_catalogue()
    for name, tool in known.tools.items():
        for version in tool.versions:
            row = {"tool": name, "version": version, "from": "pypi" if tool.pypi else "npm"}
            yield row | _in_registry(farm, catalogue.tool_repository(name), version)


def submit(
    farm: Farm, folder: Path, name: str, version: str, *, mirror: str | None = None, sha256: str | None = None
) -> Build:
    """Sends the recipe and asks for its image. Raises RequestError, SourceError and what the farm raises."""
    is_url = mirror is not None and "://" in mirror
    with together(folder, None if mirror is None or is_url else Path(mirror)) as packed:
        source, _ = farm.pack(packed, model.IMAGES)
    try:
        request = model.ImageRequest(
            image=name, version=version, source=source, mirror=mirror if is_url else None, sha256=sha256
        )
    except pydantic.ValidationError as error:
        raise RequestError(refusals.sentence_of(error)) from error
    return farm.submit(request)


@contextmanager
def together(folder: Path, archive: Path | None = None) -> Iterator[Path]:
    """What travels: the recipe's folder, with a file beside it if one was named; or recipe and build context.

    Raises RequestError, and RecipeError if not all is there that the recipe takes along.
    """
    recipe = folder_module.read_recipe(folder)
    if archive is not None and not archive.is_file():
        raise RequestError(f"{archive} is neither an address nor a file.", advice="MIRROR= takes either.")
    if archive is None and not isinstance(recipe, recipe_module.DockerfileRecipe):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        together = Path(name) / folder.name
        if isinstance(recipe, recipe_module.DockerfileRecipe):
            recipe.dockerfile.take_along(folder, together / recipe_module.CHECKOUT)
            shutil.copy(folder / recipe_module.RECIPE_FILE, together)
        else:
            shutil.copytree(folder, together, symlinks=True)
        if archive is not None:
            shutil.copyfile(archive, together / ARCHIVE)
        yield together


def _rows(farm: Farm, recipe: Recipe) -> Iterator[dict[str, object]]:
    repository = f"{model.IMAGES}/{recipe.name}"
    for version, made in recipe.versions.items():
        row: dict[str, object] = {"image": recipe.name, "version": version, "suite": made.suite}
        yield row | _in_registry(farm, repository, version)


def _in_registry(farm: Farm, repository: str, tag: str) -> dict[str, object]:
    """Digest and size of what the registry has there; None if it has nothing."""
    if not farm.registry.has_manifest(repository, tag):
        return {"digest": None, "compressed_bytes": None}
    media_type, content, digest = farm.registry.get_manifest(repository, tag)
    layers = manifest.Manifest.parse(content, media_type).layers
    return {"digest": digest, "compressed_bytes": sum(layer.size for layer in layers)}
