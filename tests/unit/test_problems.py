"""Errors as the API answers them."""

from __future__ import annotations

import pytest

from buildfarm.api.problems import problem_of
from buildfarm.errors import NotFoundError, QueueFullError, StoreError, StoreFullError


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (StoreError("Redis does not answer."), (503, "farm.redis", 5)),
        (StoreFullError("Redis is out of memory."), (503, "farm.redis_full", 60)),
        (QueueFullError("It is full.", retry_after_seconds=7), (429, "request.queue_full", 7)),
        (NotFoundError("There is no build x."), (404, "request.not_found", 0)),
    ],
)
def test_an_error_decides_status_code_and_when_to_come_back(error, problem):
    assert problem_of(error) == problem
