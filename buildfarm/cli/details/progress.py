"""The line below the log of a build that is followed: what the build does, how far it is, and what it writes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.api.page.sentences import progress_in_words
from buildfarm.cli import show as display
from buildfarm.errors import BuildfarmError
from buildfarm.model import Build, State
from buildfarm.queue.estimate import LOOKED_AT, Estimate, Usual, estimate, usual_seconds

if TYPE_CHECKING:
    from rich import text as texts
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from buildfarm import client as over_http
    from buildfarm.client import Client
    from buildfarm.events import LogLine
    from buildfarm.farm import Farm
    from buildfarm.queue.view import QueuePosition
else:
    texts = LazyModule("rich.text")
    over_http = LazyModule("buildfarm.client")


@dataclass
class Progress:
    """What a terminal shows of a build; rich draws it several times a second, and the time left counts down."""

    farm: Farm | Client
    build: Build | None = None
    place: QueuePosition | None = None
    writing: str = ""  # the line that the build is writing
    usual: Usual | None = field(default=None)
    ahead_seconds: float = 0.0  # how far the farm's clock is ahead of this machine's

    def see(self, build: Build) -> None:
        """Takes the build as it is now."""
        if self.usual is None:
            self.usual = usual_of(self.farm, build)
            self.ahead_seconds = clock_ahead(self.farm)
        self.build, self.place = build, waiting_place(self.farm, build)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.build is None:
            yield "queued"
            return
        found = estimate(self.build, self.usual or {}, time.time() + self.ahead_seconds)
        line = texts.Text(status_line(self.build, self.place, found, self.writing))
        if self.writing:  # what it writes changes all the time: it stays in one row
            line.expand_tabs(8)
            line.truncate(options.max_width, overflow="ellipsis")
        yield line


def status_line(build: Build, place: QueuePosition | None, found: Estimate | None, writing: str) -> str:
    """A build's state for people, with what it is writing behind it."""
    progress = f", {progress_in_words(found)}" if found else ""
    if place is not None:
        return f"{build.state}, {display.position_of(place)}{progress}{f': {place.why}' if place.why else ''}"
    if writing:
        return f"{build.phase or build.state}{progress}: {writing}"
    return f"{build.state} {build.phase or ''} on {build.node}{progress}" if build.node else f"{build.state}{progress}"


def usual_of(farm: Farm | Client, build: Build) -> Usual:
    """How long the app's builds take; empty if that is not known."""
    lost: list[str] = []
    with suppress(BuildfarmError):  # what the user asked for goes on without it
        newest = farm.recent(LOOKED_AT, tenant=build.request.tenant, app=build.request.app, lost=lost)
        return usual_seconds(newest)
    return {}


def clock_ahead(farm: Farm | Client) -> float:
    """By how many seconds the farm's clock is ahead of this machine's; 0 if that is not known."""
    if isinstance(farm, over_http.Client):
        return farm.clock_ahead_seconds
    with suppress(BuildfarmError):
        return farm.database.now() - time.time()
    return 0.0


def waiting_place(farm: Farm | Client, build: Build) -> QueuePosition | None:
    """The place of a build that waits."""
    return farm.queue_position(build) if build.state in (State.HELD, State.QUEUED) else None


def line_text(line: LogLine) -> Text:
    """A line of a log, its phase in front."""
    return texts.Text.assemble((f"{line.phase:<8}", "dim"), line.text)


def print_lines(farm: Farm | Client, build_id: str, lines: Iterable[LogLine]) -> None:
    """Prints lines as they come, and the build's progress below them."""
    console, progress = display.terminal(), Progress(farm)
    look(progress, build_id)
    with console.status(progress):
        seen = None
        for line in lines:
            # Not compared with the build's phase: lines of earlier phases would each ask for the build.
            if seen != (line.attempt, line.phase):
                look(progress, build_id)
            seen = (line.attempt, line.phase)
            console.print(line_text(line), soft_wrap=True)


def look(progress: Progress, build_id: str) -> None:
    """Shows the build as it is now; as it was if that cannot be read."""
    with suppress(BuildfarmError):  # the log goes on without it
        progress.see(progress.farm.get(build_id))
