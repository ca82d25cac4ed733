"""Errors as the API answers them."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from buildfarm.api.problems import install, problem_of
from buildfarm.client.wire import check
from buildfarm.errors import (
    NotFoundError,
    NotServedError,
    QueueFullError,
    StoreError,
    StoreFullError,
    TooLateError,
    UnconfirmedError,
)
from testkit.loops import run


def answer(error):
    app = FastAPI()
    install(app)

    @app.get("/")
    def fail() -> None:
        raise error

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://farm") as client:
            return await client.get("/")

    return run(ask())


def test_a_submit_that_too_few_replicas_have_names_its_build():
    error = UnconfirmedError("Build b1 was accepted, but fewer than 1 replicas of Redis had it within 1 s.")
    error.build_id = "b1"
    response = answer(error)
    body = response.json()
    assert (response.status_code, body["code"], body["build"]) == (503, "farm.unconfirmed", "b1")
    assert "same idempotency key" in body["advice"]
    assert response.headers["retry-after"]
    with pytest.raises(UnconfirmedError, match="b1"):
        check(response)


def test_a_cancel_that_comes_too_late_is_a_conflict():
    response = answer(TooLateError("Build b1 can no longer be cancelled: its image is being published."))
    assert (response.status_code, response.json()["code"]) == (409, "request.too_late")
    with pytest.raises(TooLateError):
        check(response)


def test_a_size_that_no_node_serves_is_told_apart_by_clients():
    response = answer(NotServedError("No build node serves the size large now."))
    assert (response.status_code, response.json()["code"]) == (422, "request.not_served")
    with pytest.raises(NotServedError, match="size large"):
        check(response)


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
