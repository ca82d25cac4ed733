"""Rollouts over HTTP: both clients, the command line, and the webhook of a moved app."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx
import pytest

from buildfarm.access import Audit
from buildfarm.access.webhooks import Webhooks
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.webhooks.delivery import Deliveries
from buildfarm.api.webhooks.outbound import parse_networks
from buildfarm.client import AsyncClient, Client
from buildfarm.errors import ConflictError, NotFoundError, RequestError
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from buildfarm.releases.rollouts.rules.states import AppState, Phase
from testkit.loops import run
from testkit.serving import serving
from tests.integration.releases.rollouts.conftest import QUICK


@pytest.fixture
def api(fleet):
    with serving(fleet.farm, BUILDFARM_REGISTRY_URL=fleet.farm.settings.registry_url) as api:
        yield api


def cli(api, token, *arguments, code=0):
    environment = {**os.environ, "BUILDFARM_TOKEN": token}
    command = [sys.executable, "-m", "buildfarm", "--url", api.url, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def report(name, status=Status.HEALTHY, at=0.0):
    tenant, _, app = name.partition("/")
    return HealthReport(tenant=tenant, app=app, status=status, observed_at=at)


def test_a_rollout_with_the_client(fleet, api):
    with Client(api.url, api.token(None, "read", "submit", "admin")) as client:
        with pytest.raises(RequestError, match="'lodash' does not name a component"):
            client.plan_rebuild("lodash")
        planned = client.plan_rollout(fleet.second, QUICK)
        with pytest.raises(ConflictError, match="still being looked at"):
            client.start_rollout(planned.id)
        fleet.turn()
        started = client.start_rollout(planned.id, reason="a fix")
        assert (started.phase, started.reason) == (Phase.CANARY, "a fix")
        fleet.turn()
        [change] = client.image_changes("0")
        [app] = client.rollout_apps(planned.id, [AppState.ANNOUNCED])
        assert change.app == app.app
        image = client.app_image(*app.app.split("/"))
        assert (image.image, image.previous, image.base) == (change.image, fleet.apps[app.app], fleet.second)
        assert (image.rollout, image.wave, image.rollout_state) == (planned.id, 1, "announced")
        now = fleet.farm.database.now()
        assert client.report_health(change.image, report(app.app, at=now))
        assert not client.report_health(change.image, report(app.app, at=now))
        assert client.pause_rollout(planned.id, "lunch").phase is Phase.PAUSED
        with pytest.raises(RequestError, match="needs a reason"):
            client.resume_rollout(planned.id, "")
        assert client.resume_rollout(planned.id, "back").phase is Phase.CANARY
        held = next(name for name in fleet.apps if name != app.app)
        client.hold_app(*held.split("/"), "an audit")
        assert [one.app for one in client.holds()] == [held]
        assert client.app_image(*held.split("/")).held.endswith("an audit")
        client.release_app(*held.split("/"))
        assert client.abort_rollout(planned.id, "enough").phase is Phase.ABORTING
        fleet.turn(2)
        assert client.rollout(planned.id).phase is Phase.ABORTED
        assert [one.id for one in client.rollouts()] == [planned.id]
    verbs = [entry.verb for entry in Audit(fleet.farm.database).newest(20)]
    assert verbs[::-1] == [
        "rollouts.plan", "rollouts.start", "rollouts.pause", "rollouts.resume", "apps.hold", "apps.release",
        "rollouts.abort",
    ]  # fmt: skip


def test_a_tenant_reports_and_holds_its_own_apps_only(fleet, api):
    name = next(iter(fleet.apps))
    tenant, _, app = name.partition("/")
    now = fleet.farm.database.now()
    with Client(api.url, api.token(tenant, "read", "submit")) as own:
        assert own.report_health(fleet.apps[name], report(name, at=now))
        own.hold_app(tenant, app, "an audit", days=1)
        assert [one.app for one in own.holds()] == [name]
        with pytest.raises(RequestError):
            own.plan_rollout(fleet.second)
    with Client(api.url, api.token("another", "read", "submit")) as other:
        with pytest.raises(NotFoundError):
            other.report_health(fleet.apps[name], report(name, at=now + 1))
        with pytest.raises(NotFoundError):
            other.hold_app(tenant, app, "mine")
        assert other.holds() == []
        assert other.image_changes("0") == []
    fleet.farm.hold_app(tenant, app, "an attack", days=30)
    with Client(api.url, api.token(tenant, "read", "submit")) as own:
        for change in (lambda: own.release_app(tenant, app), lambda: own.hold_app(tenant, app, "mine", days=0.1)):
            with pytest.raises(ConflictError, match="operators hold"):
                change()


def test_a_reader_learns_where_to_go_on_though_no_change_is_its_own(fleet, api):
    fleet.start()
    fleet.turn()
    [change] = fleet.farm.image_changes("0")
    for tenant, count in (("shop", 1), ("another", 0)):
        headers = {"Authorization": f"Bearer {api.token(tenant, 'read')}"}
        answer = httpx.get(f"{api.url}/v1/images/changes", params={"after": "0"}, headers=headers, timeout=30)
        assert (len(answer.json()), answer.headers["Buildfarm-Position"]) == (count, change.position)


def test_the_asynchronous_client_reads_changes(fleet, api):
    fleet.start()
    fleet.turn()

    async def read():
        async with AsyncClient(api.url, api.token(None, "read")) as client:
            waiting = asyncio.create_task(client.image_changes("0", wait_seconds=2))
            return await waiting, await client.rollouts()

    changes, rollouts = run(read())
    assert len(changes) == len(rollouts) == 1


def test_the_command_line(fleet, api):
    token = api.token(None, "read", "submit", "admin")
    name = next(iter(fleet.apps))
    assert "needs a reason" in cli(api, token, "apps", "hold", name, code=2)
    assert f"{name} is held until" in cli(api, token, "apps", "hold", name, "--reason", "an audit")
    engine = threading.Thread(target=lambda: [fleet.turn() for _ in iter(lambda: closed.wait(0.2), True)])
    closed = threading.Event()
    engine.start()
    try:
        text = cli(api, token, "rollouts", "plan", fleet.second, "--set", "soak_seconds=0", "--set", 'cohorts=["100%"]')
    finally:
        closed.set()
        engine.join()
    assert "apps   1 held, 9 waiting" in text
    assert f"held         {name}" in text
    assert "buildfarm rollouts start r1 starts it." in text
    assert "is not valid" in cli(api, token, "rollouts", "plan", fleet.second, "--set", "min_reports=7", code=2)
    assert "canary, wave 1 of 1" in cli(api, token, "rollouts", "start", "r1", "--reason", "a fix")
    fleet.turn()
    assert "1 announced" in cli(api, token, "rollouts", "show", "r1")
    [line] = cli(api, token, "rollouts", "changes").splitlines()
    moved, image = line.split()[1:3]
    assert "is healthy" in cli(api, token, "apps", "health", moved, image, "--status", "healthy")
    assert "paused" in cli(api, token, "rollouts", "pause", "r1", "--reason", "lunch")
    assert json.loads(cli(api, token, "rollouts", "list", "--json"))[0]["phase"] == "paused"
    assert "aborting" in cli(api, token, "rollouts", "abort", "r1", "--reason", "enough")
    assert cli(api, token, "apps", "release", name) == f"{name} is not held.\n"


@contextmanager
def receiver():
    got = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.put((self.headers["Webhook-Id"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", got
        server.shutdown()
        thread.join()


def test_a_moved_app_is_announced_by_webhook(fleet):
    tenant = next(iter(fleet.apps)).partition("/")[0]
    rollout = fleet.start()
    deliveries = Deliveries(fleet.farm, Webhooks(fleet.farm.database), ApiMetrics(), parse_networks("127.0.0.0/8"))
    with receiver() as (url, got):
        deliveries.webhooks.put(tenant, url, rotate=False)
        fleet.turn()
        [delivery] = deliveries.webhooks.due()
        assert deliveries.deliver(delivery) == "delivered"
        identity, body = got.get(timeout=5)
    [change] = fleet.farm.image_changes("0")
    told = json.loads(body)
    assert identity == f"msg_image_{change.position}"
    assert told["type"] == "image.changed"
    assert told["data"] == {"tenant": tenant, **change.model_dump()}
    assert told["data"]["rollout"] == rollout.id
    assert deliveries.webhooks.due() == []
