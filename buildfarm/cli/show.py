"""How builds and nodes look in a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import wanted_colour
from buildfarm.model import Build, BuildResult, Failure, Phase, State
from buildfarm.queue.view import QueuePosition
from buildfarm.telemetry.units import size

if TYPE_CHECKING:
    from rich import console as consoles
    from rich import table as tables
    from rich import text as texts
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from buildfarm import node as nodes
    from buildfarm.client import Client
    from buildfarm.farm import Farm
    from buildfarm.node import Node
    from buildfarm.sources import listing
    from buildfarm.sources.choice import LeftOut
else:  # a list of builds needs none of them; rich's take 40 ms
    nodes = LazyModule("buildfarm.node")
    listing = LazyModule("buildfarm.sources.listing")
    consoles = LazyModule("rich.console")
    tables = LazyModule("rich.table")
    texts = LazyModule("rich.text")

COLOURS = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.RUNNING: "cyan",
    State.CANCELLED: "yellow",
    State.SUPERSEDED: "yellow",
}
_HEAD = ("build", "app", "state", "submitted (UTC)", "took")
_GAP = "  "
_APP_COLUMNS_MIN = 12
_NO_EDGE_COLUMNS = 10_000


def columns_of(stream: TextIO) -> int | None:
    """How wide the output is; None without a terminal and COLUMNS: what reads a pipe gets one row per line."""
    if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return None


def terminal(*, stderr: bool = False) -> Console:
    """Where a command prints text for people."""
    stream = sys.stderr if stderr else sys.stdout
    colour = wanted_colour(os.environ)
    return consoles.Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=columns_of(stream) or _NO_EDGE_COLUMNS,
        # Colours alone: if they are forced into a pipe, what moves the cursor must not follow.
        force_terminal=stream.isatty(),
        color_system="standard" if colour else "auto",
        no_color=colour is False,
    )


def table(*names: str) -> Table:
    """A table with these columns; what is too long for one goes on in the next line, so that it can be copied."""
    return tables.Table(*(tables.Column(name, overflow="fold") for name in names), box=None)


def show_left_out(console: Console, left_out: Sequence[LeftOut], *, verbose: bool) -> None:
    """How many files of a directory are not sent, by the ignore file that names them, or each with its rule."""
    if not left_out:
        return
    by_origin: Counter[str] = Counter()
    for item in left_out:
        by_origin[item.origin] += item.files
    why = ", ".join(f"{count:,} by {origin}" for origin, count in by_origin.most_common())
    hint = "" if verbose else "; --verbose lists them"
    _dim(console, f"left out: {_files(by_origin.total())} ({why}{hint})")
    for item in left_out if verbose else ():
        inside = f" ({_files(item.files)})" if item.name.endswith("/") else ""
        _dim(console, f"  {item.name}{inside}: {item.origin}{', ' if item.rule else ''}{item.rule}")


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _dim(console: Console, text: str) -> None:
    console.print(texts.Text(listing.printable(text), "dim"), soft_wrap=True)


def show_build(console: Console, build: Build, image: str, place: QueuePosition | None = None) -> None:
    """A build with its result or failure, or its place in the queue."""
    request = build.request
    _row(console, "build", build.id)
    _row(console, "app", f"{request.tenant}/{request.app}")
    if (asked := getattr(request, "size", None)) is not None:
        _row(console, "size", asked)
    _row(console, "state", texts.Text(build.state, style=COLOURS.get(build.state, "")))
    if build.superseded_by:
        _row(console, "by", f"{build.superseded_by}, a newer build")
    if build.result_of:
        _row(console, "image of", f"{build.result_of}, which had the same input")
    if place is not None:
        _row(console, "place", position_of(place))
        _row(console, "why", place.why or "not known: the farm is older than this command")
    if build.node:
        _row(console, "node", f"{build.node}, attempt {build.attempt}")
    if build.base:
        _row(console, "base", f"{build.base}, of the channel {build.channel}")
    _row(console, "submitted", _time(build.submitted_at))
    if build.finished_at:
        _row(console, "took", f"{build.finished_at - build.submitted_at:.1f} s")
    if build.result:
        show_result(console, build.result, image)
    if build.failure:
        show_failure(console, build.failure)


def show_result(console: Console, result: BuildResult, image: str) -> None:
    """An image: its layers, what was uploaded, and where the time went."""
    _row(console, "image", image)
    _row(console, "digest", result.digest)
    for name, command in result.process_types.items():
        _row(console, "process", f"{name}: {command}")
    if result.warning:
        _row(console, "warning", texts.Text(result.warning, style="yellow"))
    _row(console, "uploaded", size(result.uploaded_bytes))
    _row(console, "phases", ", ".join(f"{phase} {result.phase_seconds.get(phase, 0):.2f} s" for phase in Phase))
    layers = table("layer", "origin", "compressed", "unpacked", "moved")
    for layer in result.layers:
        unpacked = "" if layer.uncompressed_bytes is None else size(layer.uncompressed_bytes)
        moved = "no" if layer.reused else "yes"
        layers.add_row(layer.digest[:19], layer.origin, size(layer.size_bytes), unpacked, moved)
    console.print(layers)


def show_reasons(console: Console, reasons: Iterable[tuple[str, str]]) -> None:
    """What decided how a build went: what it is about and the decision, each in a line."""
    for what, sentence in reasons:
        _row(console, what, listing.printable(sentence))


def show_failure(console: Console, failure: Failure) -> None:
    """Why there is no image, and what to do about it."""
    console.print(texts.Text(f"{failure.code}: {failure.message}", style="red"), soft_wrap=True)
    if failure.advice:
        console.print(texts.Text(failure.advice), soft_wrap=True)


def position_of(place: QueuePosition) -> str:
    """A place in the queue for people."""
    wait = "" if place.wait_seconds is None else f", starts in about {max(place.wait_seconds, 1):.0f} s"
    return f"number {place.position} at worst{wait}"


def build_lines(builds: Sequence[Build], columns: int | None) -> Iterator[str]:
    """A line for each; in so many columns of a terminal, a long app goes on in the next line."""
    rows = [_HEAD, *map(_cells_of, builds)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if columns is not None:
        others = sum(widths) - widths[1] + len(_GAP) * (len(widths) - 1)
        widths[1] = min(widths[1], max(columns - others, _APP_COLUMNS_MIN))
    for row, colour in zip(rows, [None, *(COLOURS.get(build.state) for build in builds)], strict=True):
        parts = [row[1][at : at + widths[1]] for at in range(0, len(row[1]), widths[1])]
        cells = [cell.ljust(width) for cell, width in zip((row[0], parts[0], *row[2:]), widths, strict=True)]
        cells[2] = click.style(cells[2], fg=colour)
        yield _GAP.join(cells).rstrip()
        yield from (" " * widths[0] + _GAP + part for part in parts[1:])


def _cells_of(build: Build) -> tuple[str, ...]:
    submitted = datetime.fromtimestamp(build.submitted_at, UTC).strftime("%Y-%m-%d %H:%M")
    took = f"{build.finished_at - build.submitted_at:.1f} s" if build.finished_at else ""
    state = build.failure.code if build.failure else build.state
    return build.id, f"{build.request.tenant}/{build.request.app}", str(state), submitted, took


def _row(console: Console, name: str, value: str | Text) -> None:
    # A separate line, never folded: people copy digests out of it.
    console.print(texts.Text.assemble(f"{name:<11}", value), soft_wrap=True)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_NODE_COLOURS = {"ready": "green", "closed": "yellow", "draining": "cyan", "gone": "red"}


def show_nodes(farm: Farm | Client, found: list[Node]) -> None:
    """Print a row for each node, and how many of them have the builder."""
    console = terminal()
    sized = any(set(node.sizes) - {"standard"} for node in found)
    sizes = ("sizes",) if sized else ()
    rows = table("node", "state", "slots", *sizes, "builds", "builder", "disk free", "version", "")
    for node in found:
        gone = node.state is nodes.NodeState.GONE
        rows.add_row(
            node.id,
            texts.Text(node.state, style=_NODE_COLOURS[node.state]),
            f"{node.busy}/{node.slots}",
            *((" ".join(f"{size}:{count}" for size, count in node.sizes.items()),) if sized else ()),
            " ".join(node.builds),
            node.builder.removeprefix("sha256:")[:12],
            "" if gone else size(node.disk_free_bytes),
            node.version,
            "" if gone else node.reason,
        )
    console.print(rows)
    current = farm.builder()
    alive = [node for node in found if node.state is not nodes.NodeState.GONE]
    ready = sum(bool(node.builder) and current.endswith(node.builder) for node in alive)
    console.print(f"{ready} of {len(alive)} nodes have the builder {current.rpartition('@')[2][:19]}.")
