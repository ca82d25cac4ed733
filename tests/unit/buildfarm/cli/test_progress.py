"""What a terminal shows below the log of a build that is followed."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from buildfarm.cli.build import follow
from buildfarm.cli.builds import details_of
from buildfarm.cli.details.progress import Progress, print_lines
from buildfarm.errors import RegistryError, RequestError
from buildfarm.events import LogLine, LogNow
from buildfarm.model import Build, BuildRequest, BuildResult, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.queue.view import QueuePosition
from buildfarm.sources.address import ArtifactSource

DIGEST = Digest("sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="shop", app="web", source=ArtifactSource(repository="sources/shop", digest=DIGEST))
RESULT = BuildResult(
    repository="apps/shop/web", digest=DIGEST, tag="latest", layers=(), uploaded_bytes=0, node="n", attempt=1,
    phase_seconds={Phase.PREPARE: 1.0, Phase.COMPILE: 35.0, Phase.EXPORT: 4.0},
)  # fmt: skip
WHY = "All slots for builds of the class interactive are busy."
PLACE = QueuePosition(position=12, wait_seconds=95.0, cause="slot", why=WHY)
NOW = 1_800_000_000.0  # by the farm's clock
LINE = LogLine(position="1-0", attempt=1, phase=Phase.COMPILE, text="compiling")


def build(state, build_id="new", **fields):
    return Build(id=build_id, request=REQUEST, state=state, submitted_at=0.0, **fields)


def running(seconds=15.0):
    began = {Phase.PREPARE: NOW - seconds - 1, Phase.COMPILE: NOW - seconds}
    return build(State.RUNNING, attempt=1, phase=Phase.COMPILE, phases_began=began, node="node-7.build.example.org")


class Farm:
    """One build of an app with a history."""

    def __init__(self, items, history=3, ahead=0.0):
        self.items, self.asked = items, 0
        self.database = SimpleNamespace(now=lambda: NOW + ahead)
        self.history = [build(State.SUCCEEDED, str(number), result=RESULT) for number in range(history)]

    def recent(self, limit, *, tenant, app, lost):
        assert (tenant, app) == ("shop", "web")
        self.asked += 1
        return [self.items[0], *self.history][:limit]

    def get(self, build_id):
        return self.items[0]

    def image(self, build):
        return f"registry/{build.result.repository}"

    def follow(self, build_id, *, now):
        yield from self.items

    def queue_position(self, build):
        assert build.state in (State.HELD, State.QUEUED)
        return PLACE


def drawn(item, farm=None, *, writing="", columns=80):
    """The rows that a terminal of this width has."""
    progress = Progress(farm or Farm([item]), writing=writing)
    progress.see(item)
    console = Console(file=io.StringIO(), width=columns - 2)  # a spinner and a space come before it
    console.print(progress)
    return [row.rstrip() for row in console.file.getvalue().splitlines()]


def test_a_running_build_shows_how_far_it_is():
    assert drawn(running()) == ["running compile on node-7.build.example.org, 40 %, about 24 s left"]
    assert drawn(running(100.0)) == ["running compile on node-7.build.example.org, takes longer than the usual 40 s"]


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_the_farms_clock_counts(ahead):
    """A laptop's clock may be an hour off."""
    item, at = running(15.0), {Phase.PREPARE: NOW + ahead - 16, Phase.COMPILE: NOW + ahead - 15}
    item = item.model_copy(update={"phases_began": at})
    assert drawn(item, Farm([item], ahead=ahead))[0].endswith("40 %, about 24 s left")
    assert details_of(Farm([item], ahead=ahead), item)["estimate"]["left_seconds"] == pytest.approx(24, abs=3)


def test_what_it_writes_stays_in_one_row():
    assert drawn(running(), writing="fetching 3 of 9") == ["compile, 40 %, about 24 s left: fetching 3 of 9"]
    (row,) = drawn(running(), writing="=" * 500)
    assert len(row) <= 78


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_waiting_build_shows_what_is_ahead_and_why(columns):
    rows = drawn(build(State.QUEUED), columns=columns)
    assert all(len(row) <= columns - 2 for row in rows)
    told = "queued, number 12 at worst, starts in about 95 s, usually takes 40 s: "
    assert " ".join(rows) == told + WHY


def test_without_a_history_there_is_no_estimate():
    assert drawn(running(), Farm([running()], history=0)) == ["running compile on node-7.build.example.org"]


def test_a_history_that_cannot_be_read_ends_nothing():
    class Broken(Farm):
        def recent(self, limit, *, tenant, app, lost):
            raise RegistryError("The registry is unreachable.")

    assert drawn(running(), Broken([running()])) == ["running compile on node-7.build.example.org"]


@pytest.mark.parametrize(("terminal", "asked"), [(True, 1), (False, 0)])
def test_following_asks_for_the_history_once_and_only_for_a_terminal(terminal, asked):
    ended = build(State.SUCCEEDED, result=RESULT)
    farm = Farm([build(State.QUEUED), running(), LINE, LogNow(text="now"), running(), ended])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    assert follow(farm, "new", console, quiet=False) == ended
    assert farm.asked == asked
    assert "compiling" in console.file.getvalue()


def test_logs_are_followed_with_progress(capsys):
    print_lines(Farm([running()]), "new", [LINE, LINE])
    assert capsys.readouterr().out.count("compiling") == 2


class Counted(Farm):
    """Counts how often the build is asked for."""

    gets = 0

    def get(self, build_id):
        self.gets += 1
        return super().get(build_id)


def test_lines_of_earlier_phases_do_not_each_ask_for_the_build(capsys):
    farm, earlier = Counted([running()]), LINE.model_copy(update={"phase": Phase.PREPARE})
    print_lines(farm, "new", [earlier] * 100)
    assert farm.gets <= 2
    print_lines(farm, "new", [*[earlier] * 100, *[LINE] * 100])
    assert farm.gets <= 5
    assert capsys.readouterr().out.count("compiling") == 300


def test_a_log_goes_on_if_the_build_cannot_be_read(capsys):
    class Broken(Counted):
        def get(self, build_id):
            raise RequestError("Too many calls per hour.")

    print_lines(Broken([running()]), "new", [LINE.model_copy(update={"phase": Phase.PREPARE}), LINE])
    assert capsys.readouterr().out.count("compiling") == 2


def test_json_has_what_is_left_and_what_is_ahead():
    waiting = build(State.QUEUED)
    found = details_of(Farm([waiting]), waiting)
    assert found["estimate"] == {"total_seconds": 40.0, "left_seconds": 40.0, "late": False}
    assert found["queue_position"]["why"] == WHY
    ended = build(State.SUCCEEDED, result=RESULT)
    found = details_of(Farm([ended]), ended)
    assert (found["estimate"], found["queue_position"]) == (None, None)
    assert details_of(Farm([waiting], history=0), waiting)["estimate"] is None
