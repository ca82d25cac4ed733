"""The API as a client sees it: tokens and what they open, builds, sources, logs that resume, problems."""

from __future__ import annotations

import io
import itertools
import json
import tarfile

import httpx
import pytest

from buildfarm.access import Audit, Tokens
from buildfarm.client import Client
from buildfarm.errors import InternalError, LeaseLost
from buildfarm.model import BuildRequest, Phase, State
from buildfarm.sources.address import GitSource
from buildfarm.store import Leases, LogBounds, Logs
from buildfarm.store.keeping.usage import Usage
from testkit.builds import wait_for
from testkit.serving import serving

KEY = {"Idempotency-Key": "k"}
GIT = {"kind": "git", "url": "https://git.example.org/a.git"}


@pytest.fixture(scope="module")
def api(module_farm):
    with serving(module_farm) as api:
        yield api


@pytest.fixture(scope="module")
def clients(api):
    """A client a role."""
    roles = {
        "nobody": api.as_(None, "read", token="bf_0123456789abcdef_" + "x" * 43),
        "shop-read": api.as_("shop", "read"),
        "shop-submit": api.as_("shop", "submit"),
        "shop": api.as_("shop", "read", "submit"),
        "other": api.as_("other", "read", "submit"),
        "operator": api.as_(None, "read"),
        "admin": api.as_(None, "read", "submit", "admin"),
    }
    yield roles
    for client in roles.values():
        client.close()


@pytest.fixture(scope="module")
def build(api):
    """A build of shop that waits: no node is here."""
    return submitted(api.farm, "shop", "web", env={"A": "b"})


def submitted(farm, tenant, app, **fields):
    return farm.submit(BuildRequest(tenant=tenant, app=app, source=GitSource(url="https://x/y"), **fields))


def archive(files, top="."):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


def problem(response, status, code):
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"]
    assert body["instance"] == response.headers["x-request-id"]
    return body


# What each role is answered: every route, deny by default.
ROLES = ("nobody", "shop-read", "shop-submit", "shop", "other", "operator", "admin")
ROUTES = {
    ("GET", "/v1/builds"): (401, 200, 403, 200, 200, 200, 200),
    ("GET", "/v1/builds/{id}"): (401, 200, 403, 200, 404, 200, 200),
    ("GET", "/v1/builds/{id}/log"): (401, 200, 403, 200, 404, 200, 200),
    ("GET", "/v1/farm"): (401, 200, 403, 200, 200, 200, 200),
    ("GET", "/v1/queue"): (401, 200, 403, 200, 200, 200, 200),
    ("GET", "/v1/buildpacks"): (401, 200, 403, 200, 200, 200, 200),
    ("GET", "/v1/limits"): (401, 403, 403, 403, 403, 200, 200),
    ("GET", "/v1/limits/shop"): (401, 200, 403, 200, 404, 200, 200),
    ("GET", "/v1/usage/shop"): (401, 200, 403, 200, 404, 200, 200),
    ("GET", "/v1/retention"): (401, 403, 403, 403, 403, 200, 200),
    ("GET", "/v1/retention/shop"): (401, 200, 403, 200, 404, 200, 200),
    ("PUT", "/v1/retention/shop"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/images/in-use"): (401, 403, 403, 403, 403, 200, 200),
    ("PUT", "/v1/images/in-use"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/apps/shop/web/image"): (401, 404, 403, 404, 404, 404, 404),
    ("GET", "/v1/apps/shop/web/channel"): (401, 200, 403, 200, 404, 200, 200),
    ("PUT", "/v1/apps/shop/web/channel"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/sbom"): (401, 422, 403, 422, 422, 422, 422),
    ("GET", "/v1/components"): (401, 422, 403, 422, 422, 422, 422),
    ("GET", "/v1/where"): (401, 422, 403, 422, 422, 422, 422),
    ("GET", "/v1/apps/shop/web/size"): (401, 200, 403, 200, 404, 200, 200),
    ("PUT", "/v1/apps/shop/web/size"): (401, 403, 422, 422, 422, 403, 422),
    ("GET", "/v1/channels"): (401, 403, 403, 403, 403, 200, 200),
    ("GET", "/v1/channels/none"): (401, 403, 403, 403, 403, 404, 404),
    ("PUT", "/v1/channels/none"): (401, 403, 403, 403, 403, 403, 422),
    ("DELETE", "/v1/channels/none"): (401, 403, 403, 403, 403, 403, 404),
    ("POST", "/v1/apps/shop/web/rebase"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/rollouts"): (401, 403, 403, 403, 403, 200, 200),
    ("GET", "/v1/rollouts/r7"): (401, 403, 403, 403, 403, 404, 404),
    ("GET", "/v1/rollouts/r7/apps"): (401, 403, 403, 403, 403, 404, 404),
    ("POST", "/v1/rollouts"): (401, 403, 403, 403, 403, 403, 422),
    ("POST", "/v1/rollouts/rebuilds"): (401, 403, 403, 403, 403, 403, 422),
    ("POST", "/v1/rollouts/r7/start"): (401, 403, 403, 403, 403, 403, 422),
    ("POST", "/v1/rollouts/r7/pause"): (401, 403, 403, 403, 403, 403, 422),
    ("POST", "/v1/rollouts/r7/resume"): (401, 403, 403, 403, 403, 403, 422),
    ("POST", "/v1/rollouts/r7/abort"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/images/changes"): (401, 200, 403, 200, 200, 200, 200),
    ("PUT", "/v1/images/sha256:" + "0" * 64 + "/health"): (401, 403, 422, 422, 422, 403, 422),
    ("GET", "/v1/holds"): (401, 200, 403, 200, 200, 200, 200),
    ("PUT", "/v1/apps/shop/web/hold"): (401, 403, 422, 422, 422, 403, 422),
    ("DELETE", "/v1/apps/shop/web/hold"): (401, 403, 204, 204, 404, 403, 204),
    ("GET", "/v1/bases"): (401, 403, 403, 403, 403, 200, 200),
    ("PUT", "/v1/hosts/h7"): (401, 403, 403, 403, 403, 422, 422),
    ("GET", "/v1/nodes"): (401, 403, 403, 403, 403, 200, 200),
    ("GET", "/v1/builder"): (401, 403, 403, 403, 403, 200, 200),
    ("POST", "/v1/nodes/absent/drain"): (401, 403, 403, 403, 403, 403, 404),
    ("PUT", "/v1/limits/shop"): (401, 403, 403, 403, 403, 403, 422),
    ("PUT", "/v1/builder"): (401, 403, 403, 403, 403, 403, 422),
    ("PUT", "/v1/buildpacks"): (401, 403, 403, 403, 403, 403, 422),
    ("GET", "/v1/webhook"): (401, 403, 404, 404, 404, 403, 422),
    ("PUT", "/v1/webhook"): (401, 403, 422, 422, 422, 403, 422),
    ("DELETE", "/v1/webhook"): (401, 403, 204, 204, 204, 403, 422),
    ("GET", "/v1/variables"): (401, 200, 403, 200, 200, 200, 200),
    ("PUT", "/v1/variables"): (401, 403, 422, 422, 422, 403, 422),
    ("GET", "/v1/credentials"): (401, 200, 403, 200, 200, 422, 422),
    ("PUT", "/v1/credentials"): (401, 403, 422, 422, 422, 403, 422),
    ("GET", "/v1/hooks"): (401, 200, 403, 200, 200, 200, 200),
    ("POST", "/v1/hooks"): (401, 403, 422, 422, 422, 403, 422),
    ("DELETE", "/v1/hooks/" + "0" * 16): (401, 403, 404, 404, 404, 403, 404),
    ("POST", "/v1/builds"): (401, 403, 422, 422, 422, 403, 422),
    ("POST", "/v1/sources"): (401, 403, 415, 415, 415, 403, 415),
    ("GET", "/v1/sources/sha256:" + "0" * 64): (401, 403, 404, 404, 404, 403, 422),
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_answers_each_role_as_the_table_says(clients, build, method, path):
    wrong = method in ("POST", "PUT") and path not in ("/v1/sources", "/v1/nodes/absent/drain")
    body = {"json": {"wrong": 1}} if wrong else {}
    given = [clients[role].request(method, path.format(id=build.id), **body).status_code for role in ROLES]
    assert tuple(given) == ROUTES[method, path]


def test_no_route_is_missing_from_the_table(api):
    described = httpx.get(f"{api.url}/openapi.json", trust_env=False, timeout=30).json()["paths"]
    names = {
        "{id}": "{build_id}",
        "sha256:" + "0" * 64: "{digest}",
        "/shop": "/{tenant}",
        "/web/": "/{app}/",
        "/absent": "/{node}",
        "/r7": "/{rollout_id}",
        "/none": "/{name}",
        "/h7": "/{host}",
        "/hooks/" + "0" * 16: "/hooks/{hook_id}",
    }
    tried = set()
    for method, tried_path in ROUTES:
        path = tried_path
        for ours, theirs in names.items():
            path = path.replace(ours, theirs)
        tried.add((method, path))
    elsewhere = {  # streams, health, and what changes a build: tests of their own
        ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/builds/{build_id}/log/live"), ("GET", "/v1/events/live"),
        ("POST", "/v1/builds/{build_id}/cancel"), ("POST", "/v1/builds/{build_id}/rollback"),
        ("POST", "/v1/hooks/{hook_id}"),
    }  # fmt: skip
    there = {(method.upper(), path) for path, routes in described.items() for method in routes}
    assert there == tried | elsewhere


def test_without_a_token_only_health_is_told(api):
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as client:
        problem(client.get("/v1/builds"), 401, "request.unauthenticated")
        # git push is off unless a setting turns it on
        assert client.get("/git/shop/web/info/refs?service=git-receive-pack").status_code == 404
        assert client.get("/healthz").status_code == 204
        assert client.get("/readyz").json() == {"ok": True, "redis": True, "registry": True}


def test_another_tenants_build_is_told_like_none_at_all(clients, build, api):
    other, none = clients["other"].get(f"/v1/builds/{build.id}"), clients["other"].get("/v1/builds/0123456789abcdef")
    told = problem(other, 404, "request.not_found"), problem(none, 404, "request.not_found")
    assert told[0]["detail"].replace(build.id, "0123456789abcdef") == told[1]["detail"]
    assert clients["other"].post(f"/v1/builds/{build.id}/cancel").status_code == 404
    assert clients["other"].get(f"/v1/builds/{build.id}/log/live").status_code == 404
    denied = [entry for entry in Audit(api.farm.database).newest(20) if entry.result == "denied"]
    assert any((entry.verb, entry.object, entry.tenant) == ("build.read", build.id, "shop") for entry in denied)


def test_config_vars_are_named_and_their_values_hidden(clients, build):
    assert clients["shop"].get(f"/v1/builds/{build.id}").json()["request"]["env"] == {"A": "***"}


def test_a_tenant_can_be_named_by_operators_alone(clients):
    new = {"app": "web", "source": GIT, "tenant": "shop"}
    assert clients["shop"].post("/v1/builds", json=new, headers={"Idempotency-Key": "t1"}).status_code == 202
    problem(clients["other"].post("/v1/builds", json=new, headers=KEY), 403, "request.tenant")
    accepted = clients["admin"].post("/v1/builds", json=new, headers={"Idempotency-Key": "t2"})
    assert accepted.json()["request"]["tenant"] == "shop"
    problem(
        clients["admin"].post("/v1/builds", json={"app": "web", "source": GIT}, headers=KEY), 422, "request.invalid"
    )


def test_a_key_gives_back_the_same_build_and_stands_for_one_request_only(clients):
    shop, key = clients["shop"], {"Idempotency-Key": "same"}
    first = shop.post("/v1/builds", json={"app": "idem", "source": GIT}, headers=key)
    again = shop.post("/v1/builds", json={"app": "idem", "source": GIT}, headers=key)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/v1/builds/{first.json()['id']}"
    problem(shop.post("/v1/builds", json={"app": "idem2", "source": GIT}, headers=key), 422, "request.conflict")
    own = clients["other"].post("/v1/builds", json={"app": "idem", "source": GIT}, headers=key)
    assert own.json()["id"] != first.json()["id"]
    problem(shop.post("/v1/builds", json={"app": "idem", "source": GIT}), 422, "request.invalid")


def test_a_source_is_sent_once_and_belongs_to_its_tenant(clients):
    content = archive({"index.html": "hi", "Procfile": "web: true"})
    shop = clients["shop"]
    sent = shop.post("/v1/sources", content=content, headers={"Content-Type": "application/gzip"})
    assert sent.status_code == 201
    source = sent.json()["source"]
    assert source["repository"] == "sources/shop"
    assert shop.get(f"/v1/sources/{source['digest']}").status_code == 204
    assert clients["other"].get(f"/v1/sources/{source['digest']}").status_code == 404
    stolen = clients["other"].post(
        "/v1/builds", json={"app": "web", "source": source}, headers={"Idempotency-Key": "steal"}
    )
    problem(stolen, 404, "request.not_found")
    assert (
        shop.post("/v1/builds", json={"app": "sent", "source": source}, headers={"Idempotency-Key": "sent"}).status_code
        == 202
    )


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"", 422, "app.source"), (b"PK\x03\x04 a zip", 422, "app.source"), (b"\x1f", 201, None)],
)
def test_what_is_no_gzip_is_refused_at_once(clients, content, status, code):
    response = clients["shop"].post("/v1/sources", content=content, headers={"Content-Type": "application/gzip"})
    assert response.status_code == status
    if code:
        problem(response, status, code)


def test_a_source_over_the_limit_is_cut_off_and_nothing_is_kept(module_farm):
    with serving(module_farm, BUILDFARM_SOURCE_BYTES="1000000") as small, small.as_("shop", "submit") as client:
        pieces = (b"\x1f\x8b" + b"x" * 99_998 for _ in range(20))
        headers = {"Content-Type": "application/gzip"}
        problem(client.post("/v1/sources", content=pieces, headers=headers), 413, "app.too_large")


BAD_BODIES = {
    "not JSON": ('{"app": ', 422, "request.invalid"),
    "a list": ("[]", 422, "request.invalid"),
    "too large": (json.dumps({"app": "x" * 70_000}), 413, "request.too_large"),
    "too deep": ("[" * 1000 + "]" * 1000, 400, "request.unreadable"),
    "unclosed and deep": ("[" * 60_000, 400, "request.unreadable"),
    "unknown field": (json.dumps({"app": "web", "source": GIT, "root": True}), 422, "request.invalid"),
    "bad app": (json.dumps({"app": "Web!", "source": GIT}), 422, "request.invalid"),
    "file url": (json.dumps({"app": "web", "source": {"kind": "git", "url": "file:///etc"}}), 422, "request.invalid"),
    "option as ref": (json.dumps({"app": "web", "source": {**GIT, "ref": "--upload-pack=x"}}), 422, "request.invalid"),
    "no name of a var": (json.dumps({"app": "web", "source": GIT, "env": {"A-B": "x"}}), 422, "request.invalid"),
    "nul in a var": (json.dumps({"app": "web", "source": GIT, "env": {"A": "\0"}}), 422, "request.invalid"),
    "lone surrogate": ('{"app": "web", "source": {"kind": "git", "url": "https://x/\\ud800"}}', 422, "request.invalid"),
    "unknown class": (json.dumps({"app": "web", "source": GIT, "build_class": "absent"}), 422, "request.invalid"),
    "secret without a var": (json.dumps({"app": "web", "source": GIT, "secrets": ["A"]}), 422, "request.invalid"),
    "short secret": (
        json.dumps({"app": "web", "source": GIT, "env": {"A": "b"}, "secrets": ["A"]}), 422, "request.invalid",
    ),
    "1000 buildpacks": (json.dumps({"app": "web", "source": GIT, "buildpacks": ["a"] * 1000}), 422, "request.invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_a_problem_and_no_build(clients, name):
    body, status, code = BAD_BODIES[name]
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"bad-{name.replace(' ', '-')}"}
    problem(clients["shop"].post("/v1/builds", content=body, headers=headers), status, code)


def test_lists_come_in_pages_without_a_gap_or_a_double(clients, api):
    made = [submitted(api.farm, "pages", f"app-{number % 3}", run_policy="all").id for number in range(23)]
    api.farm.cancel(made[4])
    with api.as_("pages", "read") as client:
        seen, after = [], ""
        while after is not None:
            page = client.get("/v1/builds", params={"limit": 5, "after": after}).json()
            seen += [build["id"] for build in page["builds"]]
            after = page["next"]
        assert seen == made[::-1]
        listed = client.get("/v1/builds", params={"app": "app-1", "limit": 100}).json()["builds"]
        assert [build["id"] for build in listed] == [one for number, one in enumerate(made) if number % 3 == 1][::-1]
        ended = client.get("/v1/builds", params={"state": "cancelled"}).json()["builds"]
        assert [build["id"] for build in ended] == [made[4]]
        assert client.get("/v1/builds", params={"after": "nonsense"}).status_code == 422
    assert clients["other"].get("/v1/builds", params={"tenant": "pages"}).status_code == 403


def test_too_many_calls_are_told_when_to_come_back(module_farm):
    with serving(module_farm, BUILDFARM_API_CALLS_PER_HOUR="5") as strict, strict.as_("shop", "read") as client:
        answers = [client.get("/v1/farm") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        problem(answers[-1], 429, "request.rate")
        assert 600 < int(answers[-1].headers["retry-after"]) <= 720


def test_too_many_builds_a_minute_are_told_when_to_come_back(module_farm):
    with serving(module_farm, BUILDFARM_API_BUILDS_PER_MINUTE="2") as strict, strict.as_("busy", "submit") as client:
        answers = [
            client.post("/v1/builds", json={"app": "web", "source": GIT}, headers={"Idempotency-Key": f"r{number}"})
            for number in range(3)
        ]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 30


def test_a_revoked_token_opens_nothing_any_more(api):
    text = api.token("gone", "read")
    with api.as_("gone", "read", token=text) as client:
        assert client.get("/v1/farm").status_code == 200
        Tokens(api.farm.database).revoke(text.split("_")[1])
        assert client.get("/v1/farm").status_code == 401


def test_a_cancelled_build_cannot_be_cancelled_again(clients, api):
    build = submitted(api.farm, "shop", "cancel")
    found = clients["shop"].post(f"/v1/builds/{build.id}/cancel")
    assert found.json()["found"] in (State.QUEUED, State.HELD)
    problem(clients["shop"].post(f"/v1/builds/{build.id}/cancel"), 409, "request.ended")


def events(response):
    """Server-sent events of an open response: (id, name, data)."""
    found = {}
    for line in response.iter_lines():
        if not line:
            if "event" in found:
                yield found.get("id", ""), found["event"], json.loads(found["data"])
            found = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value


class Writer:
    """Writes the log of a build as a node does."""

    def __init__(self, farm, app, tenant="logs"):
        self.farm = farm
        settings = farm.settings
        self.leases = Leases(farm.admission, settings.lease_seconds, settings.attempts_max)
        self.build = submitted(farm, tenant, app, run_policy="all")
        self.lease = self.leases.claim(self.build.id, "a-node")
        self.logs = Logs(farm.database, settings.log_bytes)
        self.batches = itertools.count(1)

    def write(self, *lines):
        self.logs.append(self.lease, Phase.COMPILE, list(lines), next(self.batches))

    def end(self):
        self.leases.cancel(self.lease)


def test_a_live_log_resumes_after_a_cut_without_a_lost_or_doubled_line(api):
    writer = Writer(api.farm, "resume")
    seen, last = [], ""
    with api.as_("logs", "read") as client:
        for cut in range(6):
            writer.write(*(f"line {cut}-{number}" for number in range(50)))
            if cut == 5:
                writer.end()
            headers = {"Last-Event-ID": last} if last else {}
            with client.stream("GET", f"/v1/builds/{writer.build.id}/log/live", headers=headers) as response:
                for position, name, data in events(response):
                    if name == "end":
                        break
                    if name == "line":
                        seen.append(data["text"])
                        last = position
                        if len(seen) == (cut + 1) * 50 - 7 and cut < 5:
                            break  # the connection is cut in the middle
    assert seen == [f"line {cut}-{number}" for cut in range(6) for number in range(50)]


def test_a_live_log_and_a_read_one_say_the_same_of_what_is_missing(api):
    writer = Writer(api.farm, "missing")
    writer.logs = Logs(api.farm.database, 10**9, LogBounds(head=1000, tail=6400))
    for number in range(20):
        writer.write(*[f"{number:036}"] * 10)
    writer.end()
    with api.as_("logs", "read") as client:
        with client.stream("GET", f"/v1/builds/{writer.build.id}/log/live") as response:
            live = [data["text"] for _, name, data in events(response) if name == "line"]
        read = client.get(f"/v1/builds/{writer.build.id}/log").text.splitlines()
    assert live == read
    assert [number for number, text in enumerate(read) if "lines are missing here" in text] == [10]
    assert [int(text) for text in (read[9], read[-1])] == [0, 19]


def test_a_live_log_tells_changes_and_ends_with_the_build(api):
    writer = Writer(api.farm, "ends")
    with api.as_("logs", "read") as client, client.stream("GET", f"/v1/builds/{writer.build.id}/log/live") as response:
        told = events(response)
        assert next(told)[1:] == ("build", {"state": "running", "phase": "prepare", "attempt": "1", "node": "a-node"})
        writer.write("hello ü\u2028there")
        name, data = next(told)[1:]
        assert (name, data["text"]) == ("line", "hello ü\u2028there")
        writer.end()
        assert [name for _, name, _ in told] == ["build", "end"]


@pytest.mark.parametrize("now", [True, False])
def test_a_live_log_has_the_line_that_is_being_written_for_those_who_ask(api, now):
    writer = Writer(api.farm, f"bar-{now}".lower())
    address = f"/v1/builds/{writer.build.id}/log/live{'?now=true' if now else ''}"
    with api.as_("logs", "read") as client, client.stream("GET", address) as response:
        told = ((name, data.get("text")) for _, name, data in events(response) if name in ("now", "line"))
        for text in ("10%", "20%"):
            writer.logs.show(writer.lease, text)
            if now:
                assert next(told) == ("now", text)
        writer.write("100%")
        writer.logs.show(writer.lease, "")
        writer.end()
        rest = [("line", "100%"), *([("now", "")] if now else [])]
        # The line may have come while it was still shown.
        assert [item for item in told if item != ("now", "20%")] == rest


def test_only_the_attempt_that_holds_a_build_shows_its_line(api):
    writer = Writer(api.farm, "two-attempts")
    writer.logs.show(writer.lease, "mine")
    assert writer.logs.now(writer.build.id) == "mine"
    writer.end()
    with pytest.raises(LeaseLost):
        writer.logs.show(writer.lease, "late")
    assert writer.logs.now(writer.build.id) == ""


def test_the_whole_log_is_text_or_lines_of_json(api):
    writer = Writer(api.farm, "whole")
    writer.write("one", "two")
    with api.as_("logs", "read") as client:
        assert client.get(f"/v1/builds/{writer.build.id}/log").text == "one\ntwo\n"
        lines = client.get(f"/v1/builds/{writer.build.id}/log", params={"format": "ndjson"}).text.splitlines()
        after = json.loads(lines[0])["position"]
        assert client.get(f"/v1/builds/{writer.build.id}/log", params={"after": after}).text == "two\n"
        assert client.get(f"/v1/builds/{writer.build.id}/log", params={"after": "x"}).status_code == 422
        headers = {"Last-Event-ID": "x; y"}
        assert client.get(f"/v1/builds/{writer.build.id}/log/live", headers=headers).status_code == 422


def test_events_are_the_callers_own(api):
    with api.as_("mine", "read") as client, client.stream("GET", "/v1/events/live") as response:
        told = events(response)
        submitted(api.farm, "theirs", "a")
        own = submitted(api.farm, "mine", "a")
        position, name, data = next(told)
        assert (name, data["build"], data["tenant"]) == ("change", own.id, "mine")
        api.farm.cancel(own.id)
    with api.as_("mine", "read") as client:
        headers = {"Last-Event-ID": position}
        with client.stream("GET", "/v1/events/live", headers=headers) as response:
            assert next(events(response))[2]["state"] == "cancelled"


def test_policies_and_reports_over_the_api_are_those_of_the_farm(clients, api):
    admin, shop = clients["admin"], clients["shop"]
    assert admin.put("/v1/retention/shop", json={"app": "web", "images": 4}).json()["images"] == 4
    assert shop.get("/v1/retention/shop", params={"app": "web"}).json()["images"] == 4
    assert admin.get("/v1/retention").json() == {"shop/web:images": 4}
    problem(admin.put("/v1/retention/shop", json={"app": "web", "sources": 1}), 422, "request.invalid")
    admin.put("/v1/retention/shop", json={"app": "web", "images": None})
    image = f"sha256:{'a' * 64}"
    told = admin.put("/v1/images/in-use", json={"images": [f"apps/shop/web@{image}"], "reporter": "host-1"}).json()
    assert (told["images"], told["reporter"]) == ([image], "host-1")
    assert admin.get("/v1/images/in-use").json() == [told]
    admin.put("/v1/images/in-use", json={"images": [], "reporter": "host-1"})
    with Client(api.url, admin.headers["Authorization"].removeprefix("Bearer ")) as client:
        assert client.report_in_use([image], days=1, reporter="host-2").images == (image,)
        assert client.images_in_use() == api.farm.images_in_use()
        client.report_in_use([], reporter="host-2")
        assert client.set_retention("shop", images=3).images == 3
        assert client.retention("shop") == api.farm.retention("shop")
        client.set_retention("shop", images=None)
        assert client.retention_set() == {}
    verbs = {entry.verb for entry in Audit(api.farm.database).newest(20)}
    assert {"retention.set", "images.in_use"} <= verbs


def test_a_tenant_over_its_limit_in_the_registry_is_told_what_takes_how_much(clients, api):
    Usage(api.farm.database).add("shop", "apps", 5_000_000)
    clients["admin"].put("/v1/limits/shop", json={"bytes": 1000})
    try:
        for refused in (
            clients["shop"].post(
                "/v1/sources", content=archive({"a": "b"}), headers={"Content-Type": "application/gzip"}
            ),
            clients["shop"].post("/v1/builds", json={"app": "web", "source": GIT}, headers={"Idempotency-Key": "full"}),
        ):
            body = problem(refused, 422, "request.storage_full")
            assert "images" in body["detail"].splitlines()[1]
        assert clients["shop"].get("/v1/usage/shop").json()["apps"] >= 5_000_000
    finally:
        clients["admin"].put("/v1/limits/shop", json={"bytes": None})
        Usage(api.farm.database).add("shop", "apps", -5_000_000)


def test_limits_are_changed_live_and_noted(clients, api):
    assert clients["admin"].put("/v1/limits/shop", json={"running": 3}).json()["tenant_running"] == 3
    assert clients["shop"].get("/v1/limits/shop").json()["tenant_running"] == 3
    clients["admin"].put("/v1/limits/shop", json={"running": None})
    assert clients["shop"].get("/v1/limits/shop").json()["tenant_running"] == api.farm.settings.tenant_running_max
    problem(clients["admin"].put("/v1/limits/shop", json={"running": 0}), 422, "request.invalid")
    assert any(entry.verb == "limits.set" for entry in Audit(api.farm.database).newest(10))


def test_a_changed_audit_entry_is_named(module_farm):
    audit, client = Audit(module_farm.database), module_farm.database.client
    key = module_farm.database.key("audit")
    verified = audit.verify()
    assert verified.entries > 1
    assert verified.head
    entries = client.xrange(key)
    position = entries[1][0]
    client.delete(key)
    for at, kept in entries:
        text = kept["entry"].replace("shop", "evil", 1) if at == position else kept["entry"]
        client.xadd(key, {**kept, "entry": text if at != position or text != kept["entry"] else text + " "}, id=at)
    with pytest.raises(InternalError, match=position):
        audit.verify()
    client.delete(key)
    for at, kept in entries[:-1]:
        client.xadd(key, kept, id=at)
    with pytest.raises(InternalError, match="newest entries are missing"):
        audit.verify()
    client.xadd(key, entries[-1][1], id=entries[-1][0])
    assert audit.verify() == verified


def test_the_log_of_the_api_holds_requests_and_no_secret(api, clients):
    clients["shop"].get("/v1/farm", headers={"X-Request-ID": "find-me"})

    def found():
        whole = [line for line in api.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in map(json.loads, whole) if line.get("request") == "find-me"]

    wait_for(found, 30)
    [asked] = found()
    assert (asked["event"], asked["path"], asked["status"]) == ("request", "/v1/farm", 200)
    secret = clients["shop"].headers["authorization"].rpartition("_")[2]
    assert secret not in api.log.read_text()
