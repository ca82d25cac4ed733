"""``buildfarm logs``: a build's log, from a time on, its last lines, or as it grows."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option

if TYPE_CHECKING:
    from buildfarm import events
    from buildfarm.cli.details import progress
    from buildfarm.client import Client
    from buildfarm.events import LogLine
    from buildfarm.farm import Farm
else:
    events = LazyModule("buildfarm.events")
    progress = LazyModule("buildfarm.cli.details.progress")

START = "0"
_UNIT_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_LAST_OF_A_MILLISECOND = 9_999_999_999
_FIRST_YEAR = 1971  # a position is never below 0


@click.command()
@click.argument("build_id")
@click.option("--follow", "-f", is_flag=True, help="Keep printing lines until the build has ended.")
@click.option("--since", metavar="TIME", help="Only lines since then: 10m, 1h30m, or a time (UTC) as 2026-11-26T10:00.")
@click.option("--tail", "-n", type=click.IntRange(0), metavar="N", help="Only the last N of the lines so far.")
@json_option
def logs(build_id: str, follow: bool, since: str | None, tail: int | None, as_json: bool) -> None:
    """Print the log of a build."""
    start = START if since is None else position_before(since, time.time())
    with connected_farm() as farm:
        lines = wanted_lines(farm, build_id, start, tail, follow=follow)
        if follow and not as_json and sys.stdout.isatty():
            progress.print_lines(farm, build_id, lines)
            return
        for line in lines:
            click.echo(line.model_dump_json() if as_json else f"{line.phase:<8}{line.text}")


def wanted_lines(
    farm: Farm | Client, build_id: str, start: str, tail: int | None, *, follow: bool
) -> Iterator[LogLine]:
    """The lines after the position ``start``; of those so far the last ``tail``, or all."""
    if tail is None:
        yield from farm.logs(build_id, follow=follow, after=start)
        return
    newest = _newest(farm, build_id, start, tail or 1)
    yield from newest if tail else ()
    if follow:
        yield from farm.logs(build_id, follow=True, after=newest[-1].position if newest else start)


def _newest(farm: Farm | Client, build_id: str, start: str, tail: int) -> list[LogLine]:
    if tail <= events.LOG_TAIL_MAX:
        return farm.log_tail(build_id, tail, after=start)
    return list(deque(farm.logs(build_id, after=start), maxlen=tail))


def position_before(since: str, now: float) -> str:
    """The position in a log before the first line that was written at this time or later; see `LogLine`.

    ``since`` is a time, in UTC if it names no zone, or a span such as 1h30m before ``now``. Raises click.UsageError.
    """
    seconds = now - span if (span := _span_of(since)) is not None else _time_of(since)
    return f"{max(0, int(seconds * 1000) - 1)}-{_LAST_OF_A_MILLISECOND}"


def _span_of(text: str) -> int | None:
    """Seconds of 1d2h3m4s, any part of which can be left out; None if it is not a span."""
    found = re.fullmatch(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,10})s)?", text)
    if found is None or not text:
        return None
    return sum(int(count or 0) * seconds for count, seconds in zip(found.groups(), _UNIT_SECONDS.values(), strict=True))


def _time_of(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min
    if found.year < _FIRST_YEAR:
        raise click.UsageError(f"--since {text}: write a span as 10m or 1h30m, or a time as 2026-11-26T10:00.")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
