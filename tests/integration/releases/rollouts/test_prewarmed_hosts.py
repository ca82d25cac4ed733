"""Hosts with the real engine get a rollout's base before its first app moves, with a token that only reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import docker
import pytest

from buildfarm.client import AsyncClient, Client
from buildfarm.errors import RequestError
from buildfarm.releases.rollouts.hosts import Hosts
from buildfarm.releases.rollouts.rules.lead import HostCount
from buildfarm.releases.rollouts.rules.states import Phase
from testkit.loops import run
from testkit.serving import serving
from tests.integration.releases.rollouts.conftest import QUICK

SLOW = QUICK.model_copy(update={"lead_seconds": 3600})


@pytest.fixture
def api(fleet):
    with serving(fleet.farm, BUILDFARM_REGISTRY_URL=fleet.farm.settings.registry_url) as api:
        yield api


@pytest.fixture
def engine(fleet):
    """The machine's engine, without the bases of this test before and after it."""
    client = docker.DockerClient(fleet.farm.settings.docker_url)
    yield client
    for base in (fleet.first, fleet.second, fleet.third):
        with suppress(docker.errors.ImageNotFound):
            client.images.remove(f"{fleet.farm.registry.host}/{base}")
    client.close()


def host(fleet, api, *options, code=0):
    """One look of a host; what it prints."""
    environment = os.environ | {
        "BUILDFARM_TOKEN": api.token(None, "read"),
        "DOCKER_HOST": fleet.farm.settings.docker_url,
    }
    command = [sys.executable, "-m", "buildfarm", "--url", api.url, "prewarm-host", "--once", "--json", "--name", "h1"]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[0])


def has(fleet, engine, base):
    """Whether the engine has it."""
    try:
        engine.images.get(f"{fleet.farm.registry.host}/{base}")
    except docker.errors.ImageNotFound:
        return False
    return True


def test_an_app_moves_when_all_hosts_have_the_base(fleet, api, engine):
    rollout = fleet.start(rules=SLOW).id
    fleet.turn(2)
    assert fleet.moved(rollout) == []
    assert "none reports" in fleet.farm.rollout(rollout).next
    assert set(host(fleet, api)["pulled"]) == {fleet.first, fleet.second}
    assert has(fleet, engine, fleet.first)
    assert has(fleet, engine, fleet.second)
    fleet.farm.report_host("h2", [fleet.first])
    fleet.turn(2)
    assert fleet.moved(rollout) == []
    assert "1 of 2 have it" in fleet.farm.rollout(rollout).next
    fleet.farm.report_host("h2", [fleet.first, fleet.second])
    fleet.turn(2)
    assert len(fleet.moved(rollout)) == 1
    assert fleet.finish(rollout).phase is Phase.COMPLETE
    # Nothing goes back to the first base any more.
    assert host(fleet, api, "--remove") == {
        "ready": [fleet.second], "pulled": [], "failed": [], "removed": [fleet.first],
    }  # fmt: skip
    assert not has(fleet, engine, fleet.first)


def test_a_host_that_cannot_pull_says_so_and_is_not_counted(fleet, api):
    found = host(fleet, api, "--registry", "127.0.0.1:1", code=4)
    assert found["ready"] == []
    assert fleet.first in found["failed"][0]
    assert Hosts(fleet.farm.database).count(fleet.first) == [HostCount(known=1, ready=0)]


def test_clients_read_and_report(fleet, api):
    fleet.farm.plan_rollout(fleet.second, SLOW)
    with Client(api.url, api.token(None, "read")) as client:
        client.report_host("h1", [fleet.first, "unknown@sha256:1"])
        second, first = client.announced_bases()
    assert (second.base, second.hosts, second.ready) == (fleet.second, 1, 0)
    assert second.image == f"{fleet.farm.registry.host}/{fleet.second}"
    assert second.moves_at == pytest.approx(fleet.farm.database.now() + 3600, abs=60)
    assert second.reasons == ("rollout r1 moves apps to it",)
    assert (first.base, first.ready) == (fleet.first, 1)
    assert first.reasons == ("the channel stable is on it", "an abort of rollout r1 brings apps back to it")

    async def again():
        async with AsyncClient(api.url, api.token(None, "read")) as client:
            await client.report_host("h1", [])
            return await client.announced_bases()

    assert [one.ready for one in run(again())] == [0, 0]
    with Client(api.url, api.token("shop", "read")) as tenant, pytest.raises(RequestError, match="operators"):
        tenant.announced_bases()
