"""The API and the page behind an nginx that was told nothing but where they are."""

from __future__ import annotations

import os

import httpx
import pytest

from buildfarm.client import Client
from buildfarm.errors import ApiError, RequestError
from testkit.cluster.nginx import nginx, passing_on
from testkit.serving import free_port, serving
from tests.integration.api.test_api import Writer, events


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


@pytest.fixture(scope="module")
def front(api, tmp_path_factory):
    port = free_port()
    with nginx(tmp_path_factory.mktemp("nginx"), passing_on(port, api.url)):
        yield f"http://127.0.0.1:{port}"


def test_a_line_of_a_log_comes_as_soon_as_it_is_there(api, front):
    writer = Writer(api.farm, "lines", "lines")
    headers = {"Authorization": f"Bearer {api.token('lines', 'read')}"}
    with (
        httpx.Client(base_url=front, headers=headers, trust_env=False, timeout=30) as client,
        client.stream("GET", f"/v1/builds/{writer.build.id}/log/live") as response,
    ):
        assert response.status_code == 200, response.read()
        told = events(response)
        assert next(told)[1] == "build"
        for number in range(3):
            writer.write(f"line {number}")
            assert next(told)[2]["text"] == f"line {number}"  # before the next is written
        writer.end()
        assert [name for _, name, _ in told] == ["build", "end"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://builds.example.org"}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://builds.example.org"}, 403),
        ({"Origin": "http://builds.example.org"}, 403),  # nginx has replaced the host: nobody can tell
    ],
    ids=["own", "another site's", "a browser that says less"],
)
def test_a_form_of_the_page_is_told_from_another_sites(api, front, headers, status):
    with httpx.Client(base_url=front, trust_env=False, timeout=30) as browser:
        browser.post("/sign-in", data={"token": api.token(None, "read", "submit", "admin")})
        answer = browser.post("/sign-out", headers=headers)
    assert answer.status_code == status
    assert ("proxy_set_header Host $http_host;" in answer.text) == (status == 403)


def test_a_source_that_nginx_does_not_pass_on_is_refused_with_what_to_do(api, front, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(2_000_000))
    with (
        Client(front, api.token("lines", "read", "submit")) as client,
        pytest.raises(RequestError, match="client_max_body_size") as found,
    ):
        client.pack(tmp_path, "lines")
    assert "does not pass on as much as was sent" in found.value.message


def test_an_api_that_nginx_does_not_reach_is_named_as_that(tmp_path):
    port = free_port()
    with (
        nginx(tmp_path, passing_on(port, f"http://127.0.0.1:{free_port()}")),
        Client(f"http://127.0.0.1:{port}", "bf_none") as client,
        pytest.raises(ApiError, match="does not reach"),
    ):
        client.get("a" * 16)
