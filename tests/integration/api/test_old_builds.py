"""Archived builds over the API, on the page, with both clients' library and the command line: as any other build."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from buildfarm.access import Scope, Tokens
from buildfarm.client import Client
from testkit.archive import Life
from testkit.serving import serving


@pytest.fixture(scope="module")
def life(module_farm):
    life = Life(module_farm, kept=2, tenant_kept=2)
    life.ids = [life.end(lines=1200), life.end(failed=True), *(life.end() for _ in range(6))]
    life.archive()
    life.logs_of = {build_id: [f"line {n} of {build_id}" for n in range(1200)] for build_id in life.ids[:1]}
    return life


@pytest.fixture(scope="module")
def api(life):
    with serving(life.farm) as api:
        yield api


@pytest.fixture(scope="module")
def client(api, life):
    with api.as_(life.tenant, "read", "submit") as client:
        yield client


def test_a_build_its_log_and_its_live_log(client, life):
    build_id = life.ids[0]
    assert client.get(f"/v1/builds/{build_id}").json()["state"] == "succeeded"
    lines = client.get(f"/v1/builds/{build_id}/log?format=ndjson").text.splitlines()
    assert [json.loads(line)["text"] for line in lines] == life.logs_of[build_id]
    last = client.get(f"/v1/builds/{build_id}/log?format=ndjson&tail=3").text.splitlines()
    assert last == lines[-3:]
    assert client.get(f"/v1/builds/{build_id}/log?tail=0").status_code == 422
    after = json.loads(lines[1100])["position"]
    live = client.get(f"/v1/builds/{build_id}/log/live", headers={"Last-Event-ID": after}).text
    assert re.findall(r'"text": "([^"]*)"', live) == life.logs_of[build_id][1101:]
    assert live.rstrip().endswith('event: end\ndata: {"state": "succeeded"}')


def test_cancelling_one_says_that_it_has_ended(client, life):
    answer = client.post(f"/v1/builds/{life.ids[1]}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "request.ended")


def test_the_history_of_an_app_and_a_list_of_all(client, life):
    found = client.get("/v1/builds?app=a&limit=200").json()
    assert [build["id"] for build in found["builds"]] == life.ids[::-1]
    assert (found["next"], found["lost"]) == (None, [])
    newest = client.get("/v1/builds").json()
    assert [build["id"] for build in newest["builds"]] == life.ids[:-3:-1]
    last = newest["builds"][-1]
    further = client.get(f"/v1/builds?after={last['submitted_at']:.6f}:{last['id']}")
    assert (further.status_code, further.json()["code"]) == (422, "request.invalid")


def test_other_tenants_do_not_see_it(api, life):
    with api.as_("other", "read") as other:
        assert other.get(f"/v1/builds/{life.ids[0]}").status_code == 404
        assert other.get("/v1/builds?app=a").json()["builds"] == []


def test_the_page_shows_old_builds_and_an_apps_history(api, client, life):
    token = Tokens(life.farm.database).make(life.tenant, "page", frozenset({Scope.READ}), 1)[0]
    assert client.post("/sign-in", data={"token": token}).status_code == 303
    page = client.get(f"/builds/{life.ids[0]}").text
    assert f"/apps/{life.tenant}/a" in page
    listed = re.findall(r'href="/builds/(\w+)"', client.get(f"/?app={life.tenant}/a").text)
    assert listed == life.ids[::-1]
    assert "Older builds are in the archive" in client.get("/").text
    assert client.get("/?app=other/a").status_code == 403
    live = client.get(f"/builds/{life.ids[0]}/live").text
    assert re.findall(r'"text": "([^"]*)"', live) == life.logs_of[life.ids[0]]


def test_the_client_and_the_command_line(api, life):
    token = api.token(life.tenant, "read", "submit")
    with Client(api.url, token) as client:
        assert [build.id for build in client.recent(50, app="a")] == life.ids[::-1]
        assert [line.text for line in client.logs(life.ids[0], follow=True)] == life.logs_of[life.ids[0]]
        assert [line.text for line in client.log_tail(life.ids[0], 3)] == life.logs_of[life.ids[0]][-3:]
    for direct in (True, False):
        environment = {**os.environ, "BUILDFARM_NAMESPACE": life.farm.settings.namespace}
        if not direct:
            environment |= {"BUILDFARM_URL": api.url, "BUILDFARM_TOKEN": token}

        def run(*words: str, environment=environment) -> str:
            command = [sys.executable, "-m", "buildfarm", *words]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        shown = json.loads(run("show", life.ids[1], "--json"))
        assert (shown["id"], shown["failure"]["message"]) == (life.ids[1], "it fails")
        assert [line[8:] for line in run("logs", life.ids[0]).splitlines()] == life.logs_of[life.ids[0]]
        assert [line[8:] for line in run("logs", "-n", "3", life.ids[0]).splitlines()] == life.logs_of[life.ids[0]][-3:]
        listed = json.loads(run("list", "--app", f"{life.tenant}/a", "--json"))
        assert [build["id"] for build in listed] == life.ids[::-1]
