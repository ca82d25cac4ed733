"""How long a build takes, by the app's last builds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.api.page.sentences import progress_in_words
from buildfarm.model import Build, BuildRequest, BuildResult, Phase, State
from buildfarm.oci.digest import Digest
from buildfarm.queue.estimate import Estimate, estimate, usual_seconds
from buildfarm.sources.address import ArtifactSource

DIGEST = Digest("sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest=DIGEST))
USUAL = dict.fromkeys(Phase, 0.0) | {Phase.PREPARE: 1.0, Phase.COMPILE: 20.0, Phase.EXPORT: 4.0}


def ended(state=State.SUCCEEDED, result_of=None, **seconds):
    result = BuildResult(
        repository="apps/t/a", digest=DIGEST, tag="latest", layers=(), uploaded_bytes=0, node="n", attempt=1,
        phase_seconds={Phase(phase): value for phase, value in seconds.items()},
    )  # fmt: skip
    return Build(
        id="b", request=REQUEST, state=state, submitted_at=0.0, result_of=result_of,
        result=result if state is State.SUCCEEDED else None,
    )  # fmt: skip


def running(phase, began=100.0):
    return Build(
        id="b", request=REQUEST, state=State.RUNNING, submitted_at=0.0, phase=phase, phases_began={phase: began}
    )


def test_without_successful_builds_nothing_is_usual():
    assert usual_seconds([]) == {}
    assert usual_seconds([ended(State.FAILED), ended(result_of="other", compile=0.1)]) == {}
    assert estimate(running(Phase.COMPILE), {}, 110.0) is None


def test_the_median_of_the_last_five_counts():
    newest = [ended(compile=seconds) for seconds in (10, 11, 300, 12, 9, 1000, 1000, 1000)]
    usual = usual_seconds([ended(State.FAILED), *newest])
    assert usual[Phase.COMPILE] == 11
    assert usual[Phase.EXPORT] == 0


@pytest.mark.parametrize(
    ("build", "now", "left"),
    [
        (running(Phase.PREPARE), 100.0, 25.0),
        (running(Phase.COMPILE), 100.0, 24.0),
        (running(Phase.COMPILE), 115.0, 9.0),
        (running(Phase.COMPILE), 122.0, 2.0),  # two seconds over, which the export has to make up for
        (running(Phase.COMPILE), 500.0, 0.0),
        (running(Phase.PUBLISH), 100.0, 0.0),
        (running(Phase.COMPILE), 90.0, 24.0),  # the reader's clock is behind the store's
        (Build(id="b", request=REQUEST, state=State.QUEUED, submitted_at=0.0), 100.0, 25.0),
    ],
)
def test_what_is_left(build, now, left):
    found = estimate(build, USUAL, now)
    assert found.total_seconds == 25
    assert found.left_seconds == left


def test_a_build_is_late_when_it_took_longer_in_all():
    begun = {Phase.PREPARE: 0.0, Phase.PUBLISH: 20.0}
    last = running(Phase.PUBLISH).model_copy(update={"phases_began": begun})
    assert not estimate(last, USUAL, 21.0).late  # the last phase has no time of its own
    assert estimate(last, USUAL, 26.0).late


def test_an_ended_build_has_nothing_left():
    assert estimate(ended(), USUAL, 100.0) is None


@given(
    seconds=st.lists(st.floats(0, 1e5), min_size=6, max_size=6),
    phase=st.sampled_from(Phase),
    elapsed=st.floats(-1e6, 1e6),
)
def test_progress_is_between_none_and_all(seconds, phase, elapsed):
    found = estimate(running(phase, 0.0), dict(zip(Phase, seconds, strict=True)), elapsed)
    if found is not None:
        assert 0 <= found.left_seconds <= found.total_seconds
        assert 0 <= found.done <= 1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"left_seconds": 200.0}, "usually takes 3 min 20 s"),
        ({"left_seconds": 90.0}, "55 %, about 1 min 30 s left"),
        ({"left_seconds": 12.4}, "94 %, about 12 s left"),
        ({"left_seconds": 0.0}, "99 %, about 1 s left"),
        ({"left_seconds": 0.0, "late": True}, "takes longer than the usual 3 min 20 s"),
    ],
)
def test_progress_for_people(found, words):
    assert progress_in_words(Estimate(total_seconds=200.0, **found)) == words
