"""The farm from outside: the client's methods give what Farm's do, blocking or not, and the command line by --url."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from buildfarm.cli.details.logs import position_before, wanted_lines
from buildfarm.client import AsyncClient, Client
from buildfarm.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    QueueFullError,
    RequestError,
    SourceError,
    TooLateError,
)
from buildfarm.events import LogLine
from buildfarm.model import BuildRequest, BuildResult, Phase, State
from buildfarm.sources.address import GitSource
from buildfarm.store import Leases, Logs
from testkit.builds import wait_for
from testkit.serving import serving
from verify.network.slow_clients import stalled_uploads


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


@pytest.fixture
def client(api):
    with Client(api.url, api.token(None, "read", "submit", "admin")) as client:
        yield client


def request(app="web", tenant="shop", **fields):
    return BuildRequest(tenant=tenant, app=app, source=GitSource(url="https://x/y"), **fields)


EVERYTHING = {
    "env": {"NODE_ENV": "production", "TOKEN": "0123456789"},
    "secrets": ("TOKEN",),
    "buildpacks": ("nodejs",),
    "buildpack_order": ("python", "static"),
    "cached_result": False,
    "build_class": None,
    "run_policy": "all",
    "expires_in_seconds": 600.0,
}


def with_values_hidden(request):
    return request.model_copy(update={"env": dict.fromkeys(request.env, "")})


def test_every_field_of_a_request_arrives_over_http(api, client):
    asked = request("everything", idempotency_key="every-1", **EVERYTHING)
    submitted = client.submit(asked)
    inside = api.farm.get(submitted.id)
    assert inside.request == with_values_hidden(asked)
    assert client.get(submitted.id) == inside == submitted
    assert api.farm.records.env(inside) == EVERYTHING["env"]
    # Sent from inside, it is the same request: the key finds the same build.
    assert api.farm.submit(asked).id == submitted.id


def test_every_field_of_a_request_arrives_from_the_nonblocking_client(api):
    asked = request("everything", idempotency_key="every-2", **EVERYTHING)

    async def run():
        async with AsyncClient(api.url, api.token(None, "read", "submit", "admin")) as client:
            submitted = await client.submit(asked)
            return submitted, await client.get(submitted.id), await client.buildpacks()

    submitted, seen, order = asyncio.run(run())
    assert submitted == seen == api.farm.get(submitted.id)
    assert seen.request == with_values_hidden(asked)
    assert order == api.farm.buildpacks()


def test_the_order_of_buildpacks_is_the_farms(api, client):
    assert client.buildpacks() == ()
    api.farm.order_buildpacks(["static", "python"])
    try:
        assert client.buildpacks() == ("static", "python")
        assert client.submit(request("ordered")).request.buildpack_order == ("static", "python")
        assert cli(api, "buildpacks", "list", token=api.token("shop", "read")).stdout.split() == ["static", "python"]
    finally:
        api.farm.order_buildpacks([])


def test_a_build_is_the_same_seen_from_inside_and_outside(api, client):
    submitted = client.submit(request(idempotency_key="one"))
    assert client.submit(request(idempotency_key="one")).id == submitted.id
    inside = api.farm.get(submitted.id)
    assert client.get(submitted.id) == inside
    assert inside in client.recent(10, tenant="shop", app="web")
    assert client.queue_position(submitted) == api.farm.queue_position(inside)
    assert client.cancel(submitted.id) in (State.QUEUED, State.HELD)
    assert client.cancel(submitted.id) is State.CANCELLED
    assert client.wait(submitted.id).state is State.CANCELLED


def test_errors_are_the_farms_own(api, client):
    with pytest.raises(NotFoundError):
        client.get("0123456789abcdef")
    client.submit(request("conflict", idempotency_key="two"))
    with pytest.raises(ConflictError):
        client.submit(request("conflict2", idempotency_key="two"))
    with pytest.raises(RequestError, match="absent"):
        client.submit(request(build_class="absent"))
    with pytest.raises(SourceError):
        client.pack(api.log.parent / "absent", "shop")
    with Client("http://127.0.0.1:1", "x") as nowhere, pytest.raises(ApiError, match=r"127\.0\.0\.1:1"):
        nowhere.nodes()
    with Client(api.url, "wrong") as stranger, pytest.raises(RequestError, match="token is missing or not valid"):
        stranger.nodes()
    api.farm.set_limits("full", waiting=1)
    bounded = [BuildRequest(tenant="full", app="a", source=GitSource(url="https://x/y"), run_policy="all")] * 12
    with pytest.raises(QueueFullError) as full:
        for one in bounded:
            client.submit(one)
    assert full.value.retry_after_seconds > 0


def test_a_directory_is_packed_to_the_digest_that_the_farm_itself_gives(api, client, tmp_path):
    (tmp_path / "index.html").write_text(uuid.uuid4().hex)
    sent, sent_bytes = client.pack(tmp_path, "packed")
    assert sent_bytes > 0
    assert client.pack(tmp_path, "packed") == (sent, 0)
    assert api.farm.pack(tmp_path, "packed") == (sent, 0)


def test_an_archive_is_taken_as_a_source(api, client, tmp_path):
    (tmp_path / "index.html").write_text(uuid.uuid4().hex)
    packed = subprocess.run(["tar", "-C", tmp_path, "-czf", "-", "."], check=True, capture_output=True).stdout
    source, sent_bytes = client.take_source("taken", iter([packed[:100], packed[100:]]))
    assert sent_bytes == len(packed)
    assert client.has_source(source)
    assert api.farm.has_source(source)
    assert not client.has_source(source.model_copy(update={"repository": "sources/other"}))

    async def run():
        async with AsyncClient(api.url, api.token("taken", "submit")) as own:
            return await own.take_source("taken", [packed]), await own.has_source(source)

    assert asyncio.run(run()) == ((source, sent_bytes), True)


def test_limits_queue_and_nodes_are_the_farms(api, client):
    assert client.set_limits("acme", running=2) == api.farm.limits("acme")
    assert client.limits_set() == api.farm.limits_set()
    client.set_limits("acme", running=None)
    assert client.nodes() == api.farm.nodes()
    assert [row.build_class for row in client.queue().classes] == [row.build_class for row in api.farm.queue().classes]
    with pytest.raises(NotFoundError):
        client.drain("absent")


def claimed(farm, app, tenant="shop"):
    build = farm.submit(request(app, tenant, run_policy="all"))
    leases = Leases(farm.admission, farm.settings.lease_seconds, farm.settings.attempts_max)
    lease = leases.claim(build.id, "a-node")
    batches = itertools.count(1)
    logs = Logs(farm.database, farm.settings.log_bytes)
    return (
        build,
        lambda *lines: logs.append(lease, Phase.COMPILE, list(lines), next(batches)),
        lambda: leases.cancel(lease),
    )


def test_a_build_that_publishes_cannot_be_cancelled(api, client):
    build = api.farm.submit(request("published", run_policy="all"))
    leases = Leases(api.farm.admission, api.farm.settings.lease_seconds, api.farm.settings.attempts_max)
    lease = leases.claim(build.id, "a-node")
    result = BuildResult(
        repository=build.request.repository, digest="sha256:" + "a" * 64, tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds={}, node="a-node", attempt=1,
    )  # fmt: skip
    leases.publish(lease, build.request.target, result)
    with pytest.raises(TooLateError, match="its image is being published"):
        client.cancel(build.id)
    assert client.get(build.id).state is State.RUNNING
    leases.succeed(lease, result)
    assert client.cancel(build.id) is State.SUCCEEDED


def test_a_build_is_followed_to_its_end(api, client):
    build, write, end = claimed(api.farm, "followed")
    write("one", "two\u2028still two")
    seen = []
    for item in client.follow(build.id):
        seen.append(item)
        if isinstance(item, LogLine) and item.text.startswith("two"):
            write("three")
            end()
    assert [item.text for item in seen if isinstance(item, LogLine)] == ["one", "two\u2028still two", "three"]
    assert seen[-1].state is State.CANCELLED
    assert [line.text for line in client.logs(build.id)] == ["one", "two\u2028still two", "three"]


def test_following_survives_the_end_of_the_api_it_followed(module_farm):
    build, write, end = claimed(module_farm, "survives")
    write("before")
    with serving(module_farm) as first:
        port = first.url.rpartition(":")[2]
        text = first.token("shop", "read")
        client = Client(first.url, text)
        lines = client.logs(build.id, follow=True)
        assert next(lines).text == "before"
    write("between")
    ending = threading.Timer(1, end)
    with serving(module_farm, BUILDFARM_API_PORT=port, port=port):
        ending.start()
        assert [line.text for line in lines] == ["between"]
    client.close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_upload_waits_for_a_slot(module_farm, tmp_path, kind):
    (tmp_path / "index.html").write_text(uuid.uuid4().hex)  # what the registry has already is not sent

    async def run(api, token):
        async with AsyncClient(api.url, token) as client:
            return await client.pack(tmp_path, "shop")

    def sent(api, token):
        if kind is AsyncClient:
            return asyncio.run(run(api, token))
        with Client(api.url, token) as client:
            return client.pack(tmp_path, "shop")

    limits = {"BUILDFARM_API_TOKEN_UPLOADS_MAX": "1", "BUILDFARM_API_CHUNK_SECONDS": "60"}
    with serving(module_farm, **limits) as api, ThreadPoolExecutor(1) as pool:
        token = api.token("shop", "read", "submit")
        with stalled_uploads(api, [token], 1):
            wait_for(
                lambda: "buildfarm_api_uploads 1.0" in httpx.get(api.metrics_url, trust_env=False, timeout=30).text, 30
            )
            sending = pool.submit(sent, api, token)
            wait_for(lambda: '"status": 429' in api.log.read_text(), 30)
        _, sent_bytes = sending.result()
        assert sent_bytes > 0


def test_many_are_awaited_at_once(api):
    async def run():
        async with AsyncClient(api.url, api.token(None, "read", "submit", "admin")) as client:
            builds = await asyncio.gather(*(client.submit(request(f"many-{number}")) for number in range(10)))
            waiting = [asyncio.create_task(client.wait(build.id)) for build in builds]
            await asyncio.gather(*(client.cancel(build.id) for build in builds))
            return await asyncio.gather(*waiting)

    assert [build.state for build in asyncio.run(run())] == [State.CANCELLED] * 10


def test_a_directory_is_sent_and_a_log_read_without_blocking(api, tmp_path):
    (tmp_path / "index.html").write_text("async")
    build, write, end = claimed(api.farm, "async")
    write("one")
    end()

    async def run():
        async with AsyncClient(api.url, api.token(None, "read", "submit", "admin")) as client:
            sent, _ = await client.pack(tmp_path, "shop")
            lines = [line.text async for line in client.logs(build.id, follow=True)]
            last = [line.text for line in await client.log_tail(build.id, 1)]
            return sent, lines, [line.text async for line in client.logs(build.id)], last, (await client.page(5))[0]

    sent, followed, whole, last, page = asyncio.run(run())
    assert api.farm.has_source(sent)
    assert followed == whole == last == ["one"]
    assert len(page) == 5


def cli(api, *arguments, token):
    return subprocess.run(
        [sys.executable, "-m", "buildfarm", "--url", api.url, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "BUILDFARM_TOKEN": token},
    )  # fmt: skip


def test_the_command_line_works_over_http(api, tmp_path):
    (tmp_path / "index.html").write_text("cli")
    token = api.token("shop", "read", "submit")
    detached = cli(api, "build", str(tmp_path), "--app", "shop/cli", "--detach", token=token)
    assert detached.returncode == 0, detached.stderr
    build_id = detached.stdout.split()[-1]
    assert json.loads(cli(api, "show", build_id, "--json", token=token).stdout)["id"] == build_id
    assert build_id in cli(api, "list", token=token).stdout
    assert cli(api, "cancel", build_id, token=token).returncode == 0
    options = [
        "--env", "NODE_ENV=production", "--secret", "TOKEN=0123456789", "--buildpack", "nodejs",
        "--buildpack-order", "python", "--buildpack-order", "static", "--rebuild", "--run-policy", "all",
        "--expires-in", "600", "--idempotency-key", "cli-1",
    ]  # fmt: skip
    whole = cli(api, "build", str(tmp_path), "--app", "shop/cli", *options, "--json", "--detach", token=token)
    assert whole.returncode == 0, whole.stderr
    asked = BuildRequest.model_validate(json.loads(whole.stdout)["request"])
    source, _ = api.farm.pack(tmp_path, "shop")
    expected = BuildRequest(tenant="shop", app="cli", source=source, idempotency_key="cli-1", **EVERYTHING)
    assert asked == with_values_hidden(expected)
    refused = cli(api, "nodes", token=token)
    assert refused.returncode == 2
    assert "operators" in refused.stderr
    assert "no token" in cli(api, "list", token="").stderr
    assert "farm's own machines" in cli(api, "images", "list", token=token).stderr


def test_the_command_line_prints_a_log_from_a_time_on_and_its_last_lines_over_http_and_without(api):
    build, write, end = claimed(api.farm, "parts", "printed")
    token = api.token("printed", "read")
    write("one", "two")
    wait_for(lambda: api.farm.database.now() > position_seconds(api, build) + 0.05, 30)
    write("three", "four")
    began = position_seconds(api, build, 2)
    since = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds")
    for arguments, expected in (
        (["--tail", "1"], ["four"]),
        (["--since", since], ["three", "four"]),
        (["--since", since, "-n", "1"], ["four"]),
        (["--since", "1h"], ["one", "two", "three", "four"]),
        (["--since", "2100-01-01"], []),
    ):
        printed = cli(api, "logs", build.id, *arguments, token=token).stdout
        assert [line[8:] for line in printed.splitlines()] == expected
        start = position_before(arguments[1], api.farm.database.now()) if "--since" in arguments else "0"
        tail = int(arguments[-1]) if arguments[-2] in ("--tail", "-n") else None
        found = wanted_lines(api.farm, build.id, start, tail, follow=False)
        assert [line.text for line in found] == expected
    following = [sys.executable, "-m", "buildfarm", "--url", api.url, "logs", "-f", "--tail", "1", build.id]
    environment = {**os.environ, "BUILDFARM_TOKEN": token}
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "compile four\n"
        write("five")
        assert process.stdout.readline() == "compile five\n"
        end()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_json_of_a_build_has_the_reference_of_its_image_and_why_it_went_so(api):
    build = api.farm.submit(request("reference", "printed", run_policy="all"))
    leases = Leases(api.farm.admission, api.farm.settings.lease_seconds, api.farm.settings.attempts_max)
    lease = leases.claim(build.id, "a-node")
    logs = Logs(api.farm.database, api.farm.settings.log_bytes)
    logs.append(lease, Phase.COMPILE, ["-----> Installing with Node 24.21.0 (engines in package.json)"], 1)
    digest = "sha256:" + "a" * 64
    result = BuildResult(
        repository=build.request.repository, digest=digest, tag="latest", layers=(), uploaded_bytes=0,
        phase_seconds={}, node="a-node", attempt=1,
    )  # fmt: skip
    leases.publish(lease, build.request.target, result)
    leases.succeed(lease, result)
    token, wanted = api.token("printed", "read"), f"{api.farm.registry.host}/apps/printed/reference@{digest}"
    assert json.loads(cli(api, "show", build.id, "--json", token=token).stdout)["image"] == wanted
    listed = json.loads(cli(api, "list", "--app", "printed/reference", "--json", token=token).stdout)
    assert [item["image"] for item in listed] == [wanted]
    explained = json.loads(cli(api, "show", build.id, "--why", "--json", token=token).stdout)
    assert {"what": "tools", "decided": "Node 24.21.0", "because": "engines in package.json"} in explained["why"]
    assert (
        "tools      Node 24.21.0 (engines in package.json)\n" in cli(api, "show", build.id, "--why", token=token).stdout
    )


def position_seconds(api, build, number=-1):
    """When a line was written."""
    return int(list(api.farm.logs(build.id))[number].position.partition("-")[0]) / 1000
