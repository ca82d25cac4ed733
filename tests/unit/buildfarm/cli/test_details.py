"""A build's log from a time on, its last lines, its page, and what decided how it went."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.cli import main
from buildfarm.cli.details.logs import START, position_before, wanted_lines
from buildfarm.cli.details.why import Reason, reasons_of
from buildfarm.cli.error_handler import Exit
from buildfarm.events import LOG_TAIL_MAX, LogLine
from buildfarm.model import Build, BuildRequest, BuildResult, Layer, Phase, State, UsedBuildpack
from buildfarm.sources.address import ArtifactSource, GitSource

DIGEST = "sha256:" + "a" * 64
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


def line(number, text="", phase=Phase.COMPILE):
    return LogLine(position=f"{number}-0", attempt=1, phase=phase, text=text or str(number))


class GrowingLog:
    """A log to which more is written between two reads."""

    def __init__(self, so_far, later):
        self.lines, self.later = so_far, later

    def logs(self, build_id, *, follow=False, after=START):
        if follow:
            self.lines = self.lines + self.later
        first = int(after.partition("-")[0])
        yield from (item for item in self.lines if int(item.position.partition("-")[0]) > first)

    def log_tail(self, build_id, lines, *, after=START):
        assert lines <= LOG_TAIL_MAX
        return list(self.logs(build_id, after=after))[-lines:]


def read(tail, *, follow, so_far=5, start=START):
    log = GrowingLog([line(number) for number in range(1, so_far + 1)], [line(6), line(7)])
    return [int(item.text) for item in wanted_lines(log, "b", start, tail, follow=follow)]


def test_the_last_lines_are_those_so_far_and_following_goes_on_after_them():
    assert read(None, follow=False) == [1, 2, 3, 4, 5]
    assert read(2, follow=False) == [4, 5]
    assert read(9, follow=False) == [1, 2, 3, 4, 5]
    assert read(2, follow=True) == [4, 5, 6, 7]
    assert read(0, follow=True) == [6, 7]
    assert read(0, follow=False) == []
    assert read(3, follow=True, so_far=0) == [6, 7]
    assert read(3, follow=False, start="4-0") == [5]
    assert read(LOG_TAIL_MAX + 1, follow=True) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("since", "at"),
    [
        ("10m", "2026-11-26T11:50:00"),
        ("1h30m", "2026-11-26T10:30:00"),
        ("1d", "2026-11-25T12:00:00"),
        ("45s", "2026-11-26T11:59:15"),
        ("2026-11-26T10:00", "2026-11-26T10:00:00"),
        ("2026-11-26 10:00:30Z", "2026-11-26T10:00:30"),
        ("2026-11-26T12:00+02:00", "2026-11-26T10:00:00"),
        ("2026-11-26", "2026-11-26T00:00:00"),
    ],
)
def test_a_time_or_a_span_is_the_place_in_a_log_before_its_first_line(since, at):
    first = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
    assert position_before(since, NOW) == f"{first - 1}-9999999999"


@given(st.integers(0, 10**9))
def test_a_span_is_never_before_the_beginning_of_time(seconds):
    assert int(position_before(f"{seconds}s", 1000.0).partition("-")[0]) == max(0, (1000 - seconds) * 1000 - 1)


@pytest.mark.parametrize("since", ["", "10", "m", "yesterday", "10m5h", "-5m", "0001-01-01", "1e3s"])
def test_a_time_that_cannot_be_read_is_wrong_usage(since):
    with pytest.raises(click.UsageError, match="write a span"):
        position_before(since, NOW)
    assert CliRunner().invoke(main, ["logs", "b", "--since", since]).exit_code == Exit.USAGE


def test_the_page_of_the_farm_and_of_a_build_is_opened(tmp_path, monkeypatch):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setattr("webbrowser._tryorder", None)
    runner = CliRunner()
    monkeypatch.setenv("BUILDFARM_URL", "https://farm.example.org/")
    assert runner.invoke(main, ["open", "b1"]).exit_code == Exit.DONE
    assert opened.read_text() == "https://farm.example.org/builds/b1\n"
    monkeypatch.delenv("BUILDFARM_URL")
    done = runner.invoke(main, ["open", "--json"], env={"BUILDFARM_API_PORT": "8099"})
    assert json.loads(done.output) == {"url": "http://127.0.0.1:8099/"}
    assert opened.read_text().count("\n") == 1
    assert runner.invoke(main, ["open", "../x"]).exit_code == Exit.USAGE


def ended(request=None, *buildpacks, **fields):
    request = request or app()
    layers = [
        Layer(digest=DIGEST, diff_id=DIGEST, size_bytes=1, origin="app", reused=reused) for reused in (True, False)
    ]
    result = BuildResult(
        repository="apps/t/a", digest=DIGEST, tag="latest", layers=tuple(layers), buildpacks=buildpacks,
        uploaded_bytes=2_500_000, phase_seconds={}, node="n", attempt=1,
    )  # fmt: skip
    return Build(id="b", request=request, state=State.SUCCEEDED, submitted_at=0, result=result, **fields)


def app(**fields):
    return BuildRequest(
        **{"tenant": "t", "app": "a", "source": ArtifactSource(repository="s/t", digest=DIGEST), **fields}
    )


def used(name="python", source="", **fields):
    return UsedBuildpack(name=name, kind="classic", source=source or name, digest=DIGEST, **fields)


def because(build, what, lines=()):
    return [reason.because for reason in reasons_of(build, lines) if reason.what == what]


@pytest.mark.parametrize(
    ("request_fields", "buildpack", "told"),
    [
        ({}, used(), "detected by requirements.txt or pyproject.toml, unless the app's .buildpacks"),
        ({"buildpacks": ("python",)}, used(), "named by the request"),
        (
            {"env": {"BUILDPACK_URL": ""}},
            used("x", "https://example.org/x#v1"),
            "named by the config var BUILDPACK_URL",
        ),
        (
            {"buildpack_order": ("go", "python")},
            used(),
            "or else the first that takes the app in this order: go, python",
        ),
        ({}, used("x", "https://example.org/x#v1"), "named by the app's .buildpacks"),
    ],
)
def test_a_buildpack_comes_with_who_chose_it(request_fields, buildpack, told):
    assert told in because(ended(app(**request_fields), buildpack), "buildpack")[0]


def test_what_a_buildpack_reports_is_among_the_reasons():
    assert because(ended(None, used(report={"version": "3.13"})), "buildpack")[0].endswith("; version: 3.13")


def test_versions_and_caches_are_read_from_the_log_with_their_reasons():
    texts = [
        "-----> Cache restored (4.0 MB)", "-----> Node.js app", "-----> Installing with Node 24.21.0, npm 11.21.2",
        "       Node: the builder's", "       npm: of package-lock.json", "-----> npm ci", "       added: 74 packages",
        "-----> Fetching Go 1.24.3 (toolchain in go.mod)", "       ", "       web: not a reason",
        "-----> Cache dropped: it comes from other buildpacks",
    ]  # fmt: skip
    found = reasons_of(ended(None, used()), [line(number, text) for number, text in enumerate(texts, 1)])
    assert [reason for reason in found if reason.what in ("cache", "tools")] == [
        Reason("cache", "restored", "4.0 MB"),
        Reason("tools", "Node 24.21.0, npm 11.21.2", "Node: the builder's; npm: of package-lock.json"),
        Reason("tools", "Fetching Go 1.24.3", "toolchain in go.mod"),
        Reason("cache", "dropped: it comes from other buildpacks"),
    ]
    assert found[-1] == Reason("layers", "1 of 2 sent, 2.5 MB", "the registry had the others")


def test_an_image_of_an_equal_build_and_a_rebuild_say_so():
    taken = reasons_of(ended(result_of="b0"), [line(1, "-----> Cache restored (4.0 MB)")])
    assert taken[-1] == Reason("image", "of build b0", "it had the same input, so nothing was built")
    assert because(ended(app(cached_result=False)), "image") == [
        "the request asked for it, even if an equal build exists"
    ]
    assert because(ended(), "image") == ["no earlier build of the app with the same input could be used"]


def test_a_build_without_an_image_has_no_reason_for_one():
    failed = ended(app(cached_result=False)).model_copy(update={"result": None})
    assert because(failed, "image") == []


def test_a_source_is_named_by_where_it_came_from():
    source = GitSource(url="https://example.org/a.git", ref="main")
    assert reasons_of(ended(app(source=source)), [])[0] == Reason("source", "https://example.org/a.git at main")


def test_a_log_that_never_ends_is_not_read_whole():
    def endless():
        number = 0
        while True:
            yield line(number := number + 1, "more")

    assert reasons_of(ended(), endless())
