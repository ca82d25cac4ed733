"""``buildfarm buildpacks list|add|remove``: the farm's order of buildpacks, for apps that name none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm.cli.error_handler import connected_farm, inside_farm, json_option
from buildfarm.errors import NotFoundError, RequestError

if TYPE_CHECKING:
    from buildfarm.farm import Farm


@click.group()
def buildpacks() -> None:
    """Say which buildpacks are tried, and in which order, on an app that names none."""


@buildpacks.command(name="list")
@json_option
def list_buildpacks(as_json: bool) -> None:
    """List the farm's order."""
    with connected_farm() as farm:
        order = farm.buildpacks()
    if as_json:
        click.echo(json.dumps(order))
    elif not order:
        click.echo("The builder's default order. `buildfarm buildpacks add` starts an order of the farm.")
    for name in order if not as_json else ():
        click.echo(name)


@buildpacks.command()
@click.argument("buildpack", nargs=-1, required=True)
@click.option("--at", type=click.IntRange(1), help="Position in the order. Default: last.")
@json_option
def add(buildpack: tuple[str, ...], at: int | None, as_json: bool) -> None:
    """Add buildpacks: names of the builder's own, addresses, or folders, which are sent to the registry."""
    with inside_farm() as farm:
        order = list(farm.buildpacks())
        added = pinned(farm, buildpack)
        for name in added:
            if name in order:
                raise RequestError(f"{name} is already in the order.", advice="See `buildfarm buildpacks list`.")
        place = len(order) if at is None else at - 1
        order[place:place] = added
        farm.order_buildpacks(order)
    click.echo(json.dumps(order) if as_json else "\n".join(order))


@buildpacks.command()
@click.argument("buildpack")
@json_option
def remove(buildpack: str, as_json: bool) -> None:
    """Take a buildpack out, by its whole name or what stands before the #, @ or : of its version."""
    with inside_farm() as farm:
        order = list(farm.buildpacks())
        found = [name for name in order if buildpack in (name, name.partition("#")[0], name.partition("@")[0])]
        if not found:
            raise NotFoundError(f"There is no {buildpack} in the order.", advice="See `buildfarm buildpacks list`.")
        order = [name for name in order if name not in found]
        farm.order_buildpacks(order)
    click.echo(json.dumps(order) if as_json else "\n".join(order))


def pinned(farm: Farm, names: tuple[str, ...]) -> list[str]:
    """The buildpacks with their digests; a word with a slash that is a folder here becomes one of the registry.

    Raises RequestError, SourceError, TooLargeError and RegistryError.
    """
    return [
        str(farm.pack_buildpack(Path(name)) if "/" in name and Path(name).is_dir() else farm.pin(name))
        for name in names
    ]
