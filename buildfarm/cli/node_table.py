"""How the build nodes look in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildfarm.node import Node, NodeState
from buildfarm.telemetry.units import size

if TYPE_CHECKING:
    from buildfarm.client import Client
    from buildfarm.farm import Farm

_COLOURS = {NodeState.READY: "green", NodeState.CLOSED: "yellow", NodeState.DRAINING: "cyan", NodeState.GONE: "red"}


def show_nodes(farm: Farm | Client, found: list[Node]) -> None:
    """Print a row for each node, and how many of them have the builder."""
    console = Console(highlight=False)
    table = Table("node", "state", "slots", "builds", "builder", "disk free", "version", "", box=None)
    for node in found:
        gone = node.state is NodeState.GONE
        table.add_row(
            node.id,
            Text(node.state, style=_COLOURS[node.state]),
            f"{node.busy}/{node.slots}",
            " ".join(node.builds),
            node.builder.removeprefix("sha256:")[:12],
            "" if gone else size(node.disk_free_bytes),
            node.version,
            "" if gone else node.reason,
        )
    console.print(table)
    current = farm.builder()
    alive = [node for node in found if node.state is not NodeState.GONE]
    ready = sum(bool(node.builder) and current.endswith(node.builder) for node in alive)
    console.print(f"{ready} of {len(alive)} nodes have the builder {current.rpartition('@')[2][:19]}.")
