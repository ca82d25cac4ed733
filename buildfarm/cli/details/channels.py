"""``buildfarm channels``: the bases that apps follow, shown and pointed elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from buildfarm.cli.error_handler import connected_farm, json_option

if TYPE_CHECKING:
    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.node import Node

_reason = click.option("--reason", default="", metavar="TEXT", help="Why, for the channel's history.")


@click.group()
def channels() -> None:
    """Show and set the bases that apps follow.

    A channel is a name for a base, such as stable and next. Every app follows stable unless it chooses another one:
    buildfarm apps channel.
    """


@channels.command(name="list")
@json_option
def list_channels(as_json: bool) -> None:
    """List the channels, with their bases and how many nodes have them."""
    with connected_farm() as farm:
        found, nodes = farm.channels(), _living(farm)
    if as_json:
        rows = [channel.model_dump() | {"ready": _ready(channel.base, nodes)} for channel in found]
        click.echo(json.dumps(rows))
        return
    width = max((len(channel.name) for channel in found), default=0)
    for channel in found:
        ready = len(_ready(channel.base, nodes))
        click.echo(f"{channel.name:<{width}}  {channel.base}  {ready} of {len(nodes)} nodes have it")
    if not found:
        click.echo("The farm has no base yet: buildfarm channels set stable BASE sets it.")


@channels.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a channel, and who pointed it where."""
    with connected_farm() as farm:
        found, nodes = farm.channel(name), _living(farm)
    ready = _ready(found.base, nodes)
    if as_json:
        click.echo(json.dumps(found.model_dump() | {"ready": ready}))
        return
    click.echo(f"base   {found.base}\nnodes  {len(ready)} of {len(nodes)} have it")
    for change in found.changes:
        at = datetime.fromtimestamp(change.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        reason = f": {change.reason}" if change.reason else ""
        click.echo(f"{at}  {change.base or 'removed'}  by {change.actor}{reason}")


@channels.command(name="set")
@click.argument("name")
@click.argument("base")
@_reason
@json_option
def set_channel(name: str, base: str, reason: str, as_json: bool) -> None:
    """Point the channel NAME to BASE, or make a new one.

    BASE is repository:tag or repository@digest in the farm's registry. Nodes pull it beside their builds, and each goes
    on with the channel's earlier base until it has the new one. No app's image changes before its next build or
    buildfarm apps rebase.
    """
    with connected_farm() as farm:
        pointed = farm.set_channel(name, base, reason=reason)
    click.echo(json.dumps({"channel": name, "base": pointed}) if as_json else f"{name} is {pointed}.")


@channels.command()
@click.argument("name")
@_reason
@json_option
def remove(name: str, reason: str, as_json: bool) -> None:
    """Forget the channel NAME, which no app may follow."""
    with connected_farm() as farm:
        base = farm.remove_channel(name, reason=reason)
    click.echo(json.dumps({"channel": name, "base": base}) if as_json else f"{name} is removed; it was {base}.")


def _living(farm: Farm | Client) -> list[Node]:
    return [node for node in farm.nodes() if node.state != "gone"]


def _ready(base: str, nodes: list[Node]) -> list[str]:
    """Ids of the nodes that have a base."""
    return [node.id for node in nodes if node.has(base)]
