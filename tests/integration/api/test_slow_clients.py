"""Clients that hold connections open, and services that hang: the API answers everybody else in time."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from buildfarm.access import Audit, Scope, Tokens
from buildfarm.input_digest import input_digest
from buildfarm.model import BuildRequest, BuildResult
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import GitSource
from testkit.builds import promised, wait_for
from testkit.serving import serving
from verify.network.slow_clients import address_of, answered, slowest, stalled_uploads, upload_head

KEY = {"Idempotency-Key": "k"}
GZIP = {"Content-Type": "application/gzip"}
PATIENT = {"BUILDFARM_API_CHUNK_SECONDS": "120"}  # uploads stall for as long as a test looks


def tokens(farm, count, tenant="stall"):
    wanted = frozenset({Scope.READ, Scope.SUBMIT})
    return [Tokens(farm.database).make(tenant, f"stalled-{number}", wanted, 1)[0] for number in range(count)]


def test_uploads_that_stall_delay_nobody_else(module_farm):
    with serving(module_farm, **PATIENT) as api, api.as_("calm", "read", "submit") as calm:
        given = tokens(module_farm, 20)
        with stalled_uploads(api, given, 60) as uploads:
            wait_for(lambda: len(answered(uploads)) == 60 - 16, 20, lambda: answered(uploads))
            assert slowest(lambda: calm.get("/healthz"), 204, 0.5) < promised(1)
            assert slowest(lambda: calm.get("/readyz"), 200, 0.5) < promised(1)
            assert slowest(lambda: calm.get("/v1/builds"), 200, 0.5) < promised(1)
            refused = calm.post("/v1/sources", content=b"\x1f\x8b", headers=GZIP)
            assert (refused.status_code, refused.json()["code"]) == (503, "request.busy")
            assert refused.headers["retry-after"] == "5"
        wait_for(lambda: calm.post("/v1/sources", content=b"\x1f", headers=GZIP).status_code == 201, 30)


def test_a_token_has_a_bounded_number_of_uploads(module_farm):
    with serving(module_farm, **PATIENT) as api, api.as_("calm", "submit") as calm:
        token = api.token("greedy", "read", "submit")
        with stalled_uploads(api, [token], 6) as uploads, api.as_("greedy", "submit", token=token) as greedy:
            wait_for(lambda: answered(uploads) == [429, 429], 20, lambda: answered(uploads))
            refused = greedy.post("/v1/sources", content=b"\x1f\x8b", headers=GZIP)
            assert (refused.status_code, refused.json()["code"]) == (429, "request.busy")
            assert "already has 4 uploads open" in refused.json()["detail"]
            assert calm.post("/v1/sources", content=b"\x1f", headers=GZIP).status_code == 201
            form = {"app": (None, "web"), "git": (None, "https://example.org/a.git")}
            greedy.post("/sign-in", data={"token": token})
            assert greedy.post("/submit", files=form).status_code == 429


@pytest.mark.parametrize("pause_seconds", [None, 0.2], ids=["silence", "a byte now and then"])
def test_an_upload_that_is_too_slow_ends(module_farm, pause_seconds):
    with serving(module_farm, BUILDFARM_API_CHUNK_SECONDS="1") as api:
        token = api.token("slow", "submit")
        with stalled_uploads(api, [token], 1) as (upload,):
            started = time.monotonic()
            while not answered([upload]) and time.monotonic() < started + promised(5):
                time.sleep(pause_seconds or 0.05)
                if pause_seconds:
                    with suppress(ConnectionError):  # it has just been closed
                        upload.sendall(b"x")
            assert answered([upload]) == [408]
            assert 0.9 < time.monotonic() - started < promised(4.5)


def test_an_upload_at_a_steady_pace_takes_longer_than_the_limit_of_a_chunk(module_farm):
    with serving(module_farm, BUILDFARM_API_CHUNK_SECONDS="5") as api:
        content = b"\x1f\x8b" + b"x" * (8 * 65_536)
        with socket.create_connection(address_of(api.url), 30) as connection:
            connection.sendall(upload_head(api.token("slow", "submit"), len(content)))
            for start in range(0, len(content), 65_536):
                connection.sendall(content[start : start + 65_536])
                time.sleep(0.7)
            assert connection.recv(12) == b"HTTP/1.1 201"


def test_a_small_body_that_stalls_is_given_up(module_farm):
    with serving(module_farm) as api:
        head = b"POST /v1/builds HTTP/1.1\r\nHost: farm\r\nContent-Length: 100\r\n\r\n{"
        with ExitStack() as opened, api.as_("calm", "read") as calm:
            for _ in range(60):
                opened.enter_context(socket.create_connection(address_of(api.url))).sendall(head)
            assert slowest(lambda: calm.get("/v1/builds"), 200, 0.5) < promised(1)


def test_the_api_stops_while_uploads_stall(module_farm):
    with serving(module_farm) as api, stalled_uploads(api, tokens(module_farm, 5), 10) as uploads:
        time.sleep(0.5)
        assert answered(uploads) == []
        api.process.terminate()
        assert api.process.wait(promised(12)) == 0


def test_live_streams_are_bounded_by_token_and_in_all(module_farm):
    limits = {"BUILDFARM_API_TOKEN_STREAMS_MAX": "2", "BUILDFARM_API_STREAMS_MAX": "3"}
    with serving(module_farm, **limits) as api, ExitStack() as opened:
        one, two = (opened.enter_context(api.as_(tenant, "read")) for tenant in ("one", "two"))
        streams = [opened.enter_context(one.stream("GET", "/v1/events/live")) for _ in range(2)]
        assert [stream.status_code for stream in streams] == [200, 200]
        refused = one.get("/v1/events/live")
        assert (refused.status_code, refused.json()["code"]) == (429, "request.busy")
        assert refused.headers["retry-after"] == "5"
        opened.enter_context(two.stream("GET", "/v1/events/live"))
        refused = two.get("/v1/events/live")
        assert (refused.status_code, refused.json()["code"]) == (503, "request.busy")
        streams[0].close()

        def there_is_room_again():
            with one.stream("GET", "/v1/events/live") as again:
                return again.status_code == 200

        wait_for(there_is_room_again, 20)


def test_followers_that_do_not_read_take_little_memory(module_farm):
    build = module_farm.submit(BuildRequest(tenant="lazy", app="web", source=GitSource(url="https://x/y")))
    client, key = module_farm.database.client, module_farm.database.key
    for _ in range(20):
        pipeline = client.pipeline(transaction=False)
        for _ in range(100):
            pipeline.xadd(key("build", build.id, "log"), {"a": 1, "p": "compile", "t": "x" * 4000})
        pipeline.execute()
    with serving(module_farm) as api, ExitStack() as opened:
        token, before = api.token("lazy", "read"), api.rss_bytes()
        head = f"GET /v1/builds/{build.id}/log/live HTTP/1.1\r\nHost: farm\r\nAuthorization: Bearer {token}\r\n\r\n"
        for _ in range(100):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address_of(api.url))
            connection.sendall(head.encode())
        wait_for(
            lambda: "buildfarm_api_followers 100.0" in httpx.get(api.metrics_url, trust_env=False, timeout=30).text, 60
        )
        most = before
        for _ in range(20):
            time.sleep(0.1)
            most = max(most, api.rss_bytes())
        assert most - before < 100 * 2**20, f"{(most - before) / 2**20:.0f} MiB"


@contextmanager
def hanging():
    """A registry that takes connections and never answers."""
    held = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:

        def accept():
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in held:
        connection.close()


def result_of(farm, request, builder):
    """Leaves a build behind that succeeded with this input."""
    digest = Digest("sha256:" + "a" * 64)
    result = BuildResult(
        repository="apps/memo/web", digest=digest, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
        node="n", attempt=1,
    )  # fmt: skip
    client, key = farm.database.client, farm.database.key
    client.set(key("memo", input_digest(request, builder, farm.settings)), "earlier")
    client.hset(key("build", "earlier"), "result", result.model_dump_json())


def test_a_registry_that_hangs_delays_submits_and_readiness_by_two_seconds(module_farm):
    builder = "sha256:" + "b" * 64
    request = BuildRequest(tenant="memo", app="web", source=GitSource(url="https://x/y", ref="c" * 40))
    result_of(module_farm, request, builder)
    body = {"app": "web", "source": {"kind": "git", "url": "https://x/y", "ref": "c" * 40}}
    with (
        hanging() as registry,
        serving(module_farm, BUILDFARM_REGISTRY_URL=registry, BUILDFARM_BUILDER=f"builder@{builder}") as api,
        api.as_("memo", "read", "submit") as client,
        ThreadPoolExecutor(40) as pool,
    ):

        def timed(method, path, **options):
            started = time.monotonic()
            status = client.request(method, path, **options).status_code
            return status, time.monotonic() - started

        asked = [pool.submit(timed, "GET", "/readyz") for _ in range(20)]
        looked = [pool.submit(timed, "GET", "/v1/sources/sha256:" + "0" * 64) for _ in range(3)]
        sent = [
            pool.submit(timed, "POST", "/v1/builds", json=body, headers={"Idempotency-Key": f"hang-{number}"})
            for number in range(5)
        ]
        assert slowest(lambda: client.get("/healthz"), 204, 1) < promised(1)
        assert slowest(lambda: client.get("/v1/builds"), 200, 0.5) < promised(1)
        for calls, status in ((asked, 503), (looked, 503), (sent, 202)):
            found = [call.result() for call in calls]
            assert {one[0] for one in found} == {status}
            assert max(one[1] for one in found) < promised(4)
        assert min(call.result()[1] for call in sent) > 1.9, "the memo was not checked: this proves nothing"


FORWARDED = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.1.1.1", "X-Forwarded-Proto": "https"}


def signed_in(api, headers, token):
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser:
        return browser.post("/sign-in", data={"token": token}, headers=headers)


def audited(farm, verb):
    return next(entry.address for entry in Audit(farm.database).newest(20) if entry.verb == verb)


def test_a_trusted_proxys_headers_name_the_visitor(module_farm):
    with serving(module_farm, BUILDFARM_API_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8") as api:
        answer = signed_in(api, FORWARDED, api.token("shop", "read"))
        assert "secure" in answer.headers["set-cookie"].lower()
        with api.as_("shop", "submit") as client:
            client.delete("/v1/webhook", headers=FORWARDED)
        assert audited(module_farm, "webhook.delete") == "203.0.113.7", "the right-most address that is no proxy's"
        statuses = [signed_in(api, FORWARDED, "wrong").status_code for _ in range(40)]  # each ten seconds one may
        assert statuses[-1] == 429
        spoofed = {**FORWARDED, "X-Forwarded-For": "7.7.7.7, 203.0.113.7, 10.1.1.1"}
        assert signed_in(api, spoofed, "wrong").status_code == 429, "what a visitor claims does not count"
        other = {**FORWARDED, "X-Forwarded-For": "203.0.113.8"}
        assert signed_in(api, other, "wrong").status_code == 401, "one visitor locks nobody else out"


def test_headers_of_anybody_else_do_not_count(module_farm):
    with serving(module_farm, BUILDFARM_API_TRUSTED_PROXIES="10.0.0.0/8") as api:
        answer = signed_in(api, FORWARDED, api.token("shop", "read"))
        assert "secure" not in answer.headers["set-cookie"].lower()
        with api.as_("shop", "submit") as client:
            client.delete("/v1/webhook", headers=FORWARDED)
        assert audited(module_farm, "webhook.delete") == "127.0.0.1"


@pytest.mark.parametrize("after", ["(1:x", "x", "1", "-inf:a", "1e999:a", "1.0:" + "x" * 65, "nan:x"])
def test_a_page_position_that_is_none_is_refused_in_words(module_farm, shared_api, after):
    with httpx.Client(base_url=shared_api.url, trust_env=False, timeout=30) as browser:
        browser.post("/sign-in", data={"token": shared_api.token("pages", "read")})
        answer = browser.get("/", params={"after": after})
        assert answer.status_code == 422
        assert "not a position" in answer.text


@pytest.fixture(scope="module")
def shared_api(module_farm):
    with serving(module_farm) as api:
        yield api
