"""Which images of earlier recipes may go from the engine."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from localfarm.leftovers import OLD_SECONDS, made_at, old

NOW = 1e9
AGED = NOW - OLD_SECONDS - 1


def test_old_images_go_but_for_the_newest_of_a_recipe_and_those_in_use():
    made = {
        "buildfarm/builder:a": AGED - 5,
        "buildfarm/builder:used": AGED - 4,
        "buildfarm/builder:b": AGED,
        "buildfarm/builder:newest": NOW,
        "buildfarm/builder:young": NOW - 60,
        "buildfarm/imager:only": AGED,
    }
    assert old(made, {"buildfarm/builder:used"}, NOW) == ["buildfarm/builder:a", "buildfarm/builder:b"]


@pytest.mark.parametrize("text", ["2026-11-26T04:28:30.305162283Z", "2026-11-26T04:28:30.305162Z"])
def test_the_time_is_when_the_engine_tagged_it(text):
    found = made_at({"Created": "1970-01-01T00:00:00Z", "Metadata": {"LastTagTime": text}})
    assert found == pytest.approx(datetime(2026, 11, 26, 4, 28, 30, 305162, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("attributes", [{}, {"Metadata": {}}, {"Metadata": {"LastTagTime": "never"}}])
def test_an_image_without_a_time_is_not_old(attributes):
    assert old({"buildfarm/a:1": made_at(attributes), "buildfarm/a:2": made_at(attributes)}, (), NOW) == []
