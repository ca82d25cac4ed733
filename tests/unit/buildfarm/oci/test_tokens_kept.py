"""Tokens for a registry: how many are kept, and how long one may take."""

from __future__ import annotations

import httpx
import pytest

from buildfarm.oci.http import auth


@pytest.fixture
def asked():
    """Limits of time of the requests for tokens."""
    return []


@pytest.fixture
def client(asked, monkeypatch):
    monkeypatch.setattr(auth, "_TOKENS_MAX", 3)

    def answer(request):
        if request.url.path == "/token":
            asked.append(request.extensions.get("timeout"))
            return httpx.Response(200, json={"token": "t", "expires_in": 300})
        if "Authorization" in request.headers:
            return httpx.Response(200)
        return httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="http://r/token",service="r"'})

    client = httpx.Client(base_url="http://r", transport=httpx.MockTransport(answer), auth=auth.RegistryAuth("", ""))
    with client:
        yield client


def test_of_too_many_tokens_the_oldest_goes(client, asked):
    for name in "abcd":
        client.get(f"/v2/{name}/manifests/x")
    assert len(client.auth._tokens) == 3
    client.get("/v2/d/manifests/x")
    assert len(asked) == 4
    client.get("/v2/a/manifests/x")
    assert len(asked) == 5


def test_a_token_server_has_a_limit_of_its_own(client, asked):
    """A slow one would never be heard by those who give the registry two seconds."""
    client.get("/v2/a/manifests/x", timeout=2)
    assert asked == [httpx.Timeout(10).as_dict()]
