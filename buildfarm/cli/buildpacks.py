"""``buildfarm buildpacks list|use|add|remove``: the farm's order of buildpacks, for apps that name none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, inside_farm, json_option
from buildfarm.errors import NotFoundError, RequestError

if TYPE_CHECKING:
    from buildfarm import client as over_http
    from buildfarm.buildpacks import pin as pins
    from buildfarm.buildpacks import resolve as resolving
    from buildfarm.buildpacks import vendors
    from buildfarm.buildpacks.address import Buildpack
    from buildfarm.client import Client
    from buildfarm.farm import Farm
else:
    over_http = LazyModule("buildfarm.client")
    pins = LazyModule("buildfarm.buildpacks.pin")
    resolving = LazyModule("buildfarm.buildpacks.resolve")
    vendors = LazyModule("buildfarm.buildpacks.vendors")

BUNDLED = "bundled"  # the builder's own order


@click.group()
def buildpacks() -> None:
    """Choose which buildpacks are tried, and in which order, on an app that names none."""


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


@buildpacks.command(short_help="Replace the order by a vendor's buildpacks, or others.")
@click.argument("names", metavar="VENDOR|BUILDPACK...", nargs=-1)
@click.option("--mirror", metavar="URL", default="", help="Take vendors' repositories from here instead of github.com.")
@click.option(
    "--list", "listed", is_flag=True, help="Show the vendors and their buildpacks, without changing anything."
)
@click.option("--reset", is_flag=True, help="Go back to the builder's own order, as `use bundled` does.")
@json_option
def use(names: tuple[str, ...], mirror: str, listed: bool, reset: bool, as_json: bool) -> None:
    """Replace the farm's order by a vendor's own buildpacks, or by these ones.

    Branches and tags are resolved to commits now, from this machine, and the commits are stored.
    """
    if bool(names) + listed + reset != 1 or (BUNDLED in names and len(names) > 1):
        raise click.UsageError("Name vendors or buildpacks, or give one of --list and --reset.")
    if listed:
        return _show_vendors(as_json=as_json)
    with connected_farm() as farm:
        is_bundled = reset or names == (BUNDLED,)
        found = [] if is_bundled else resolving.resolve(names, lambda name: _pinned(farm, name), mirror)
        order = [str(item.buildpack) for item in found]
        farm.order_buildpacks(order)
    if as_json:
        click.echo(json.dumps(order))
    elif not order:
        click.echo("The builder's default order.")
    for item in found if not as_json else ():
        click.echo(f"{item.buildpack}  {item.ref}".rstrip())
    for vendor in (vendors.read_vendors().get(name) for name in names):
        if vendor is not None:
            click.echo(vendor.note, err=True)
    return None


def _show_vendors(*, as_json: bool) -> None:
    table = vendors.read_vendors()
    if as_json:
        click.echo(json.dumps({name: list(vendor.addresses) for name, vendor in table.items()}))
        return
    for name, vendor in table.items():
        click.echo(f"{name}: {vendor.about} ({vendor.source})")
        for address in vendor.addresses:
            click.echo(f"  {address}")
    click.echo(f"{BUNDLED}: the builder's own")


@buildpacks.command(short_help="Add buildpacks by name, address or folder.")
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


@buildpacks.command(short_help="Take a buildpack out of the order.")
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
    return [str(_pinned(farm, name)) for name in names]


def _pinned(farm: Farm | Client, name: str) -> Buildpack:
    """One of them. Over HTTP the caller's machine asks git hosts itself, and nothing can be sent to the registry."""
    is_folder = "/" in name and Path(name).is_dir()
    if not isinstance(farm, over_http.Client):
        return farm.pack_buildpack(Path(name)) if is_folder else farm.pin(name)
    if is_folder:
        raise RequestError(
            f"The folder {name} can be sent only from the farm's own machines.",
            advice="Leave out --url and BUILDFARM_URL, or name a git repository.",
        )
    return pins.pin(name, None)
