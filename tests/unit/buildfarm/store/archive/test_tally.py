"""What waits for the archive, summed over looks at the list of builds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.store.archive.catalog import Ended
from buildfarm.store.archive.tally import Waiting

ended = st.builds(Ended, st.just("b"), st.just("t/a"), st.integers(1, 1000).map(float), st.booleans(), st.booleans())


@given(st.lists(st.lists(ended, max_size=4), max_size=4))
def test_looks_add_up_to_what_one_look_at_all_finds(looks):
    summed, waiting = Waiting(), [build for look in looks for build in look if not build.archived]
    for look in looks:
        summed = summed.and_also(look, seconds=3600, patience_seconds=14400)
    due = [build.finished_at + (14400 if build.waits else 3600) for build in waiting]
    assert summed == Waiting(len(waiting), sum(build.waits for build in waiting), min(due, default=0.0))
