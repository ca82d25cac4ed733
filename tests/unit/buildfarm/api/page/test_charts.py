"""An app's builds as drawings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.api.page.charts import HEIGHT, WIDTH, phase_chart
from buildfarm.api.page.trend import HEIGHT as TREND_HEIGHT
from buildfarm.api.page.trend import WIDTH as TREND_WIDTH
from buildfarm.api.page.trend import bytes_trend, seconds_trend
from buildfarm.model import Build, BuildRequest, BuildResult, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import GitSource

SECONDS = st.floats(0, 1e5)


def build(seconds, **fields):
    result = BuildResult(
        repository="apps/shop/web", digest=Digest.of(b"x"), tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds=seconds, node="n", attempt=1,
    )  # fmt: skip
    request = BuildRequest(tenant="shop", app="web", source=GitSource(url="https://git.example.org/a"))
    found = {"id": "b", "state": State.SUCCEEDED, "submitted_at": 100.0, "result": result, **fields}
    return Build(request=request, **found)


def test_a_trend_says_in_words_what_it_draws():
    found = seconds_trend([12.0, 31.0, 10.0])
    assert found.last == "10 s"
    assert found.in_words == "10 s; the last 3 builds: 10 s to 31 s"
    assert bytes_trend([1_500_000.0]).in_words == "1.5 MB"
    assert seconds_trend([]).last == ""


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_a_trend_stays_within_its_drawing(values):
    found = seconds_trend(values)
    points = [tuple(map(float, point.split(","))) for point in found.points.split()]
    assert len(points) == len(values)
    assert points[-1] == found.end
    assert all(0 <= x <= TREND_WIDTH and 0 <= y <= TREND_HEIGHT for x, y in points)


@given(st.lists(st.dictionaries(st.sampled_from(list(Phase)), SECONDS), max_size=50))
def test_columns_stay_within_the_chart_and_stand_on_each_other(values):
    chart = phase_chart([build(seconds) for seconds in values])
    assert len(chart.columns) == len([seconds for seconds in values if seconds])
    for column in chart.columns:
        assert 0 <= column.x <= column.x + column.width <= WIDTH
        ys = [part.y for part in column.parts]
        assert ys == sorted(ys, reverse=True)
        assert all(-0.2 <= part.y <= HEIGHT for part in column.parts)


def test_a_chart_begins_with_the_oldest_build_and_has_only_builds_that_were_built():
    newest, oldest = build({Phase.COMPILE: 9.0}, id="new"), build({Phase.COMPILE: 3.0, Phase.EXPORT: 1.0}, id="old")
    failed = build({}, id="failed", state=State.FAILED, result=None)
    taken = build({Phase.COMPILE: 1.0}, id="taken", result_of="old")
    chart = phase_chart([newest, failed, taken, oldest])
    assert [column.build.id for column in chart.columns] == ["old", "new"]
    assert chart.phases == (Phase.COMPILE, Phase.EXPORT)
    assert chart.in_words.endswith("from 4.0 s to 9.0 s")
