"""What the failure of a build that ran out of memory says, whatever the farm's nodes tell of themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.errors import OutOfMemoryError, StoreError
from buildfarm.settings import Settings
from workers.attempt.larger import with_next_size

REQUEST = SimpleNamespace(tenant="t", size=None)


class Rules:
    """Sizes of tenants, as a store would have them."""

    def __init__(self, answer, **settings):
        self.settings = Settings(**settings)
        self.answer = answer

    def next_larger(self, tenant, size):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_next_size_is_named_and_the_reports_of_buildpacks_stay():
    error = OutOfMemoryError("x", advice="y")
    error.reports = {"node": {"a": 1}}
    told = with_next_size(error, REQUEST, Rules("large", sizes="large=memory:6GiB"))
    assert "2 GiB, size standard" in told.message
    assert "--size large" in told.advice
    assert told.reports == {"node": {"a": 1}}


def test_a_farm_without_sizes_says_what_it_always_said():
    error = OutOfMemoryError("x")
    assert with_next_size(error, REQUEST, Rules(AssertionError("asked"))) is error


@pytest.mark.parametrize("trouble", [StoreError("no Redis"), ValueError("a heartbeat that no version wrote")])
def test_an_apps_failure_stays_one_although_the_nodes_cannot_be_read(trouble):
    told = with_next_size(OutOfMemoryError("x", advice="y"), REQUEST, Rules(trouble, sizes="large=memory:6GiB"))
    assert told.advice == "y"
