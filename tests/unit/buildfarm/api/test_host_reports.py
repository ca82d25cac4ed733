"""Hosts share one token: their reports are counted apart from other calls, so that many hosts can report."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from buildfarm.access import Scope, Token
from buildfarm.api.routes import bases


@pytest.fixture
def counted():
    """Makes a call to a farm that announces nothing, and returns what was counted."""
    taken = []

    def take(what, whose, size, seconds):
        taken.append((what, size))
        return 0

    token = Token("id", None, "hosts", frozenset({Scope.READ}), 0.0, 1e12)
    app = FastAPI()
    app.include_router(bases.router)
    app.state.services = SimpleNamespace(
        tokens=SimpleNamespace(verify=lambda text: token), rates=SimpleNamespace(take=take),
        farm=SimpleNamespace(
            settings=SimpleNamespace(api_calls_per_hour=4500), announced_bases=list, report_host=lambda host, bases: [],
        ),
    )  # fmt: skip

    async def identified(scope, receive, send):
        await app({**scope, "state": {"request_id": "r"}}, receive, send)

    async def call(method, path, **more):
        headers, transport = {"Authorization": "Bearer bf_x"}, httpx.ASGITransport(identified)
        async with httpx.AsyncClient(transport=transport, base_url="http://farm", headers=headers) as client:
            assert (await client.request(method, path, **more)).status_code == 200
        return taken

    return lambda *call_of, **more: asyncio.run(call(*call_of, **more))


def test_a_thousand_hosts_report_every_minute_with_one_token(counted):
    [(what, size)] = counted("PUT", "/v1/hosts/h1", json={"bases": []})
    assert what != "calls"
    assert size >= 1000 * 60


def test_the_list_alone_counts_as_any_call(counted):
    assert counted("GET", "/v1/bases") == [("calls", 4500)]
