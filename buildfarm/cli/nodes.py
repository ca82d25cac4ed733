"""``buildfarm nodes`` and ``buildfarm builder``: the build nodes, and the image that all of them build on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option

if TYPE_CHECKING:
    from buildfarm.cli import show as display
    from buildfarm.client import Client
    from buildfarm.farm import Farm
else:
    display = LazyModule("buildfarm.cli.show")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def nodes(context: click.Context, as_json: bool) -> None:
    """List the build nodes, or drain one."""
    if context.invoked_subcommand is not None:
        return
    with connected_farm() as farm:
        found = farm.nodes()
        if as_json:
            click.echo(json.dumps([node.model_dump(mode="json") for node in found]))
        else:
            display.show_nodes(farm, found)


@nodes.command()
@click.argument("name")
@json_option
def drain(name: str, as_json: bool) -> None:
    """Let a node finish its builds, and then stop.

    It takes no more builds. Those that still run after BUILDFARM_DRAIN_SECONDS are handed back to the queue.
    """
    with connected_farm() as farm:
        farm.drain(name)
    click.echo(
        json.dumps({"draining": name}) if as_json else f"{name} is draining; buildfarm nodes shows its progress."
    )


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def builder(context: click.Context, as_json: bool) -> None:
    """Show the builder image, or promote another one."""
    if context.invoked_subcommand is None:
        with connected_farm() as farm:
            _tell_builder(farm, as_json)


@builder.command()
@click.argument("reference", metavar="REF")
@json_option
def promote(reference: str, as_json: bool) -> None:
    """Make REF the image that every build stands on from now on.

    REF is repository:tag or repository@digest in the farm's registry. Nodes pull it beside their builds, and each goes
    on with the old one until it has the new one.
    """
    with connected_farm() as farm:
        farm.promote_builder(reference)
        _tell_builder(farm, as_json)


def _tell_builder(farm: Farm | Client, as_json: bool) -> None:
    current = farm.builder()
    alive = [node for node in farm.nodes() if node.state != "gone"]
    ready = [node.id for node in alive if node.builder and current.endswith(node.builder)]
    if as_json:
        click.echo(json.dumps({"builder": current, "ready": ready, "nodes": [node.id for node in alive]}))
    else:
        click.echo(f"{current or 'none yet'}\n{len(ready)} of {len(alive)} nodes have it.")
