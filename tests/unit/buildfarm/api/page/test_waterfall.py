"""Where a build's time went, as bars."""

from __future__ import annotations

from buildfarm.api.page.sentences import duration, in_words, size, source_in_words
from buildfarm.api.page.waterfall import WIDTH, Span, draw, spans_of
from buildfarm.model import Build, BuildRequest, BuildResult, Phase, State
from buildfarm.sources.address import GitSource

SOURCE = GitSource(url="https://git.example.org/a.git")


def build(state, **fields):
    request = BuildRequest(tenant="shop", app="web", source=SOURCE)
    return Build(id="b", request=request, state=state, submitted_at=100.0, **fields)


def result(seconds):
    digest = "sha256:" + "a" * 64
    return BuildResult(
        repository="apps/shop/web", digest=digest, tag="latest", layers=(), uploaded_bytes=0, phase_seconds=seconds,
        node="n", attempt=1,
    )  # fmt: skip


def test_a_waiting_build_is_all_queue():
    assert spans_of(build(State.QUEUED), now=107.0) == [Span("queue", 0, 7.0, now=True)]


def test_a_running_build_shows_its_phases_by_when_they_began():
    began = {Phase.PREPARE: 102.0, Phase.DETECT: 103.0, Phase.COMPILE: 103.5}
    running = build(State.RUNNING, attempt=1, node="n", started_at=102.0, phases_began=began)
    assert spans_of(running, now=110.0) == [
        Span("queue", 0, 2.0),
        Span("prepare", 2.0, 3.0),
        Span("detect", 3.0, 3.5),
        Span("compile", 3.5, 10.0, now=True),
    ]


def test_a_finished_build_shows_the_seconds_of_its_result():
    seconds = {Phase.PREPARE: 1.0, Phase.DETECT: 0.5, Phase.COMPILE: 2.0, Phase.EXPORT: 1.0, Phase.PUBLISH: 0.5}
    ended = build(State.SUCCEEDED, started_at=102.0, finished_at=107.0, result=result(seconds))
    spans = spans_of(ended, now=999.0)
    assert [span.name for span in spans] == ["queue", "prepare", "detect", "compile", "export", "publish"]
    assert spans[-1] == Span("publish", 6.5, 7.0)


def test_no_bar_and_no_label_leaves_the_drawing():
    spans = [Span("queue", 0, 0), Span("prepare", 0, 100), Span("publish", 100, 100.001)]
    drawn = draw(spans)
    for bar in drawn.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH
        assert 0 < bar.label_x < WIDTH
    assert drawn.in_words == "queue 0.00 s, prepare 100 s, publish 0.00 s"
    assert draw([]).bars == ()


def test_words_are_for_people():
    assert in_words(build(State.HELD)) == "Waiting for another build of its tenant to end."
    assert in_words(build(State.QUEUED, attempt=1)) == "Waiting for a retry."
    assert source_in_words(SOURCE) == "https://git.example.org/a.git at HEAD"
    assert (duration(3.25), duration(61), duration(7300)) == ("3.2 s", "1 min 1 s", "2 h 1 min")
    assert (size(999), size(2_500_000)) == ("999 B", "2.5 MB")
