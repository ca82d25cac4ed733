"""How builds look in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildfarm.model import Build, BuildResult, Failure, Phase, State

COLOURS = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.RUNNING: "cyan",
    State.CANCELLED: "yellow",
    State.SUPERSEDED: "yellow",
}


def show_build(console: Console, build: Build, image: str) -> None:
    """A build with its result or failure."""
    request = build.request
    state = Text(build.state, style=COLOURS.get(build.state, ""))
    table = Table.grid(padding=(0, 2))
    table.add_row("build", build.id)
    table.add_row("app", f"{request.tenant}/{request.app}")
    table.add_row("state", state)
    if build.node:
        table.add_row("node", f"{build.node}, attempt {build.attempt}")
    table.add_row("submitted", _time(build.submitted_at))
    if build.finished_at:
        table.add_row("took", f"{build.finished_at - build.submitted_at:.1f} s")
    console.print(table)
    if build.result:
        show_result(console, build.result, image)
    if build.failure:
        show_failure(console, build.failure)


def show_result(console: Console, result: BuildResult, image: str) -> None:
    """An image: its layers, what was uploaded, and where the time went."""
    table = Table.grid(padding=(0, 2))
    table.add_row("image", image)
    table.add_row("digest", str(result.digest))
    table.add_row("processes", ", ".join(f"{name}: {command}" for name, command in result.process_types.items()))
    table.add_row("uploaded", size(result.uploaded_bytes))
    table.add_row("phases", ", ".join(f"{phase} {result.phase_seconds.get(phase, 0):.2f} s" for phase in Phase))
    console.print(table, soft_wrap=True)
    layers = Table("layer", "origin", "compressed", "unpacked", "moved", box=None)
    for layer in result.layers:
        unpacked = "" if layer.uncompressed_bytes is None else size(layer.uncompressed_bytes)
        moved = "no" if layer.reused else "yes"
        layers.add_row(layer.digest[:19], layer.origin, size(layer.size_bytes), unpacked, moved)
    console.print(layers)


def show_failure(console: Console, failure: Failure) -> None:
    """Why there is no image, and what to do about it."""
    console.print(Text(f"{failure.code}: {failure.message}", style="red"), soft_wrap=True)
    if failure.advice:
        console.print(Text(failure.advice), soft_wrap=True)


def show_list(console: Console, builds: list[Build]) -> None:
    """Builds, a line each."""
    table = Table("build", "app", "state", "submitted", "took", box=None)
    for build in builds:
        took = f"{build.finished_at - build.submitted_at:.1f} s" if build.finished_at else ""
        state = Text(build.failure.code if build.failure else build.state, style=COLOURS.get(build.state, ""))
        table.add_row(build.id, f"{build.request.tenant}/{build.request.app}", state, _time(build.submitted_at), took)
    console.print(table)


def size(count_bytes: int) -> str:
    """A number of bytes for people."""
    value = float(count_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
