"""Pushes become builds: over real HTTP, with a real Redis and a fake of the forge's API for statuses."""

from __future__ import annotations

import asyncio
import json
import random
import time
from itertools import pairwise

import httpx
import pytest
from click.testing import CliRunner

from buildfarm.access import Audit
from buildfarm.cli import main
from buildfarm.client import AsyncClient, Client
from buildfarm.errors import NotFoundError
from buildfarm.model import State
from buildfarm.sources.pushes.hook import NewHook
from buildfarm.store.keeping.push_inbox import PushInbox
from testkit.builds import promised, wait_for
from testkit.queue import pushes as sent
from testkit.queue.pushes import ZEROS, commit, encoded, fake_forge, github_push, signed, standard
from testkit.serving import serving
from tests.integration.api.push_work import builds, end

SECONDS = 60


@pytest.fixture(scope="module")
def forge():
    with fake_forge() as forge:
        yield forge


@pytest.fixture(scope="module")
def api(module_farm):
    variables = {"BUILDFARM_WEBHOOK_NETWORKS": "127.0.0.0/8", "BUILDFARM_API_BUILDS_PER_MINUTE": "100000"}
    with serving(module_farm, **variables) as api:
        yield api


@pytest.fixture
def client(api):
    with api.as_("shop", "submit", "read") as client:
        yield client


def make(client, app, **fields):
    new = {"app": app, "provider": "github", "repository": sent.GITHUB, **fields}
    answer = client.post("/v1/hooks", json=new)
    assert answer.status_code == 201, answer.text
    return answer.json()


def deliver(hook, payload, *, secret="", headers=None):
    body = payload if isinstance(payload, bytes) else encoded(payload)
    own = headers or signed(hook["provider"], secret or hook["secret"], body)
    return httpx.post(hook["url"], content=body, headers=own, trust_env=False, timeout=30)


def built(farm, app, number=1):
    wait_for(lambda: len(builds(farm, app)) >= number, SECONDS)
    return builds(farm, app)[0]


def states(forge, sha, wanted):
    wait_for(lambda: forge.states(sha) == wanted, SECONDS, lambda: (forge.states(sha), wanted))


FORGES = {
    "github": (sent.GITHUB, github_push(ZEROS, commit(11)), ["pending", "success"]),
    "gitea": (sent.GITEA, github_push(ZEROS, commit(12), host="git.example.org"), ["pending", "success"]),
    "gitlab": (sent.GITLAB, sent.gitlab_push(ZEROS, commit(13)), ["pending", "success"]),
    "bitbucket": (sent.BITBUCKET, sent.bitbucket_push((ZEROS, commit(14))), ["INPROGRESS", "SUCCESSFUL"]),
}


@pytest.mark.parametrize("provider", FORGES)
def test_a_push_of_every_forge_is_built_and_reported_back(module_farm, client, forge, provider):
    address, push, reported = FORGES[provider]
    token = {"api": forge.url, "status_token": "forge-t0ken"}
    hook = make(client, provider, provider=provider, repository=address, project_dir="web", **token)
    started = time.monotonic()
    answer = deliver(hook, push)
    assert (answer.status_code, answer.json()["result"]) == (202, "new"), answer.text
    assert time.monotonic() - started < promised(2)
    build = built(module_farm, provider)
    sha = push["after"] if "after" in push else push["push"]["changes"][0]["new"]["target"]["hash"]
    assert (build.request.source.url, build.request.source.ref) == (address, sha)
    assert build.request.env == {"PROJECT_DIR": ""}
    states(forge, sha, reported[:1])
    end(module_farm, build.id)
    states(forge, sha, reported)
    path, headers, body = next(found for found in forge.got if sha in found[0])
    assert "forge-t0ken" in str(headers)
    assert f"{hook['page']}/builds/{build.id}" in str(body)
    assert path.startswith("/api/")


def test_a_failure_is_reported_once_and_a_forge_that_is_away_hears_of_it_later(module_farm, client, forge):
    hook = make(client, "fails", api=forge.url, status_token="forge-t0ken")
    forge.answers = [503] * 100
    deliver(hook, github_push(ZEROS, commit(20)))
    build = built(module_farm, "fails")
    wait_for(lambda: len(forge.answers) < 100, SECONDS)  # it was asked once
    end(module_farm, build.id, failed=True)
    with forge.lock:
        forge.answers = []
    states(forge, commit(20), ["failure"])  # that it waited is out of date
    assert module_farm.get(build.id).state is State.FAILED
    wait_for(lambda: not PushInbox(module_farm.database).status(build.id), SECONDS)


def test_a_push_of_a_superseded_build_is_reported_as_stopped(module_farm, client, forge):
    hook = make(client, "newer", api=forge.url, status_token="forge-t0ken")
    deliver(hook, github_push(ZEROS, commit(30)))
    deliver(hook, github_push(commit(30), commit(31)))
    built(module_farm, "newer", 2)
    wait_for(lambda: forge.states(commit(30))[-1:] == ["error"], SECONDS)
    states(forge, commit(31), ["pending"])


def test_repeated_and_disordered_deliveries_make_one_build_a_commit_in_their_order(module_farm, client):
    hook = make(client, "order", run_policy="all")
    commits = [ZEROS, *(commit(number) for number in range(40, 52))]
    payloads = [github_push(*pair) for pair in pairwise(commits)]
    # A push that lacks those before it is waited for until none has come for five seconds. So there is one repetition
    # between two that are new, and the others follow: a busy machine does not take that long for two.
    dice, coming = random.Random(7), []
    dice.shuffle(payloads)
    for number, payload in enumerate(payloads):
        coming += [payload, payloads[dice.randint(0, number)]]
    coming += dice.sample(payloads, 12)
    with httpx.Client(trust_env=False, timeout=30) as http:
        results = []
        for payload in coming:
            body = encoded(payload)
            answer = http.post(hook["url"], content=body, headers=signed("github", hook["secret"], body))
            results.append(answer.json()["result"])
    assert (results.count("new"), results.count("seen")) == (12, 24)
    built(module_farm, "order", 12)
    assert [build.request.source.ref for build in builds(module_farm, "order")[::-1]] == commits[1:]


def test_what_is_not_to_be_built_is_said_and_not_built(module_farm, client):
    hook = make(client, "skips", project_dir="web")
    for payload, reason in (
        (github_push(ZEROS, commit(60), message="Later [skip ci]"), "[skip ci]"),
        (github_push(commit(60), commit(61), files=["api/x.py"]), "no file"),
        (github_push(commit(1), commit(2), branch="other"), "not main"),
        (sent.github_pull("opened", 3, commit(3)), "no pull requests"),
        ({"zen": "Speak like a human.", "repository": sent.github_repository()}, "not about a branch"),
    ):
        answer = deliver(hook, payload)
        assert answer.status_code == 202
        assert reason in answer.json()["detail"]
    deliver(hook, github_push(commit(61), commit(62), files=["web/x.py"]))
    assert built(module_farm, "skips").request.source.ref == commit(62)
    assert len(builds(module_farm, "skips")) == 1


def test_a_delivery_that_is_not_the_forges_is_refused_with_what_to_do_and_no_secret(module_farm, client):
    hook = make(client, "forged")
    gitlab = make(client, "gitlab-forged", provider="gitlab", repository=sent.GITLAB)
    push = github_push(ZEROS, commit(70))
    old = standard(gitlab["secret"], encoded(sent.gitlab_push(ZEROS, commit(70))), "m1", int(time.time()) - 600)
    for answer, status, code in (
        (deliver(hook, push, secret="wrong"), 401, "request.signature"),
        (deliver(hook, push, headers={"Content-Type": "application/json"}), 401, "request.signature"),
        (deliver(gitlab, sent.gitlab_push(ZEROS, commit(70)), headers=old), 401, "request.signature"),
        (deliver(hook, github_push(ZEROS, commit(70), name="octo/other")), 422, "request.invalid"),
        (deliver(hook, b"payload=x"), 400, "request.unreadable"),
        (deliver(hook, b" " * (5 * 1024 * 1024 + 1)), 413, "request.too_large"),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code)
        assert hook["repository"] in problem["detail"] or gitlab["repository"] in problem["detail"]
        assert problem["advice"]
        assert hook["secret"] not in answer.text
    unknown = deliver({**hook, "url": hook["url"][:-16] + "f" * 16}, push)
    assert unknown.status_code == 404
    assert builds(module_farm, "forged") == builds(module_farm, "gitlab-forged") == []
    shown = {one["app"]: one["last"] for one in client.get("/v1/hooks").json()}
    assert shown["forged"].startswith("refused: ")


def test_a_pull_request_is_an_app_that_ends_with_it(module_farm, client):
    hook = make(client, "pulls", pull_requests=True)
    deliver(hook, sent.github_pull("opened", 12, commit(80), at=100))
    deliver(hook, sent.github_pull("opened", 13, commit(81), at=100, branch="other"))
    deliver(hook, sent.github_pull("opened", 14, commit(82), at=100, source="mallory/shop"))
    first, second = built(module_farm, "pulls-pr-12"), built(module_farm, "pulls-pr-13")
    end(module_farm, first.id)
    deliver(hook, sent.github_pull("synchronize", 12, commit(83), at=200))
    waiting = built(module_farm, "pulls-pr-12", 2)
    deliver(hook, sent.github_pull("closed", 12, commit(83), at=300))
    wait_for(lambda: module_farm.get(waiting.id).state is State.CANCELLED, SECONDS)
    wait_for(lambda: module_farm.records.tag_target("apps/shop/pulls-pr-12") == "", SECONDS)
    assert module_farm.get(second.id).state is State.QUEUED
    deliver(hook, sent.github_pull("synchronize", 12, commit(84), at=250))  # late
    deliver(hook, github_push(commit(81), ZEROS, branch="other"))
    wait_for(lambda: module_farm.get(second.id).state is State.CANCELLED, SECONDS)
    assert len(builds(module_farm, "pulls-pr-12")) == 2
    assert builds(module_farm, "pulls-pr-14") == []

    def noted() -> set[str]:
        return {one.object for one in Audit(module_farm.database).newest(50) if one.verb == "preview.end"}

    wait_for(lambda: {"shop/pulls-pr-12", "shop/pulls-pr-13"} <= noted(), SECONDS, noted)  # after the cancelled builds


def test_a_preview_ends_when_its_time_is_over_or_its_hook_is_removed(module_farm, client):
    hook = make(client, "ttl", pull_requests=True, preview_hours=2)
    deliver(hook, sent.github_pull("opened", 1, commit(90), at=1))
    build, previews = built(module_farm, "ttl-pr-1"), module_farm.database.key("previews")
    until = module_farm.database.client.zscore(previews, f"{hook['id']} shop/ttl-pr-1")
    assert until - build.submitted_at == pytest.approx(7200, abs=60)
    PushInbox(module_farm.database).keep_preview(hook["id"], "shop", "ttl-pr-1", 0)  # as if two hours were over
    wait_for(lambda: module_farm.get(build.id).state is State.CANCELLED, SECONDS)
    longer = make(client, "removed", pull_requests=True)
    deliver(longer, sent.github_pull("opened", 1, commit(91), at=1))
    build = built(module_farm, "removed-pr-1")
    assert client.delete(f"/v1/hooks/{longer['id']}").status_code == 204
    wait_for(lambda: module_farm.get(build.id).state is State.CANCELLED, SECONDS)
    assert deliver(longer, sent.github_pull("opened", 2, commit(92), at=1)).status_code == 404


def test_a_build_that_is_refused_is_an_error_of_its_commit(module_farm, client, forge):
    module_farm.set_limits("shop", bytes=1)
    module_farm.room.usage.add("shop", "apps", 10)
    try:
        hook = make(client, "full", api=forge.url, status_token="forge-t0ken")
        deliver(hook, github_push(ZEROS, commit(95)))
        states(forge, commit(95), ["error"])
    finally:
        module_farm.set_limits("shop", bytes=None)
    body = next(body for path, _, body in forge.got if commit(95) in path)
    assert body["description"] == "shop has 10 B in the registry; its limit is 1 B."
    assert builds(module_farm, "full") == []


def test_a_tenant_sees_and_removes_its_own_hooks_alone(module_farm, api, client):
    hook = make(client, "mine")
    with api.as_("other", "submit", "read") as other:
        assert other.get("/v1/hooks").json() == []
        assert other.delete(f"/v1/hooks/{hook['id']}").status_code == 404
        denied = other.post(
            "/v1/hooks", json={"tenant": "shop", "app": "x", "provider": "github", "repository": "https://x/y"}
        )
        assert denied.status_code == 403
    [shown] = [one for one in client.get("/v1/hooks").json() if one["id"] == hook["id"]]
    assert shown["secret"] is None
    kept = module_farm.database.client.hget(module_farm.database.key("hooks"), hook["id"])
    assert hook["secret"] not in kept


def test_hooks_are_made_listed_and_removed_by_both_clients_and_the_command_line(module_farm, api, tmp_path):
    token = api.token("shop", "submit", "read")
    new = NewHook(app="client", provider="gitea", repository=sent.GITEA, page="https://builds.example.org/")
    with Client(api.url, token) as client:
        made = client.make_hook(new)
        assert made.url == f"https://builds.example.org/v1/hooks/{made.id}"
        assert made.id in [one.id for one in client.hooks()]

        async def others():
            async with AsyncClient(api.url, token) as other:
                second = await other.make_hook(new)
                await other.remove_hook(second.id)
                return [one.id for one in await other.hooks("shop")]

        assert made.id in asyncio.run(others())
        client.remove_hook(made.id)
        with pytest.raises(NotFoundError):
            client.remove_hook(made.id)
    (tmp_path / "token").write_text("forge-t0ken\n")
    runner = CliRunner(env={"BUILDFARM_URL": api.url, "BUILDFARM_TOKEN": token})
    command = ["hooks", "make", "shop/cli", sent.GITHUB, "--provider", "github", "--path", "a/**", "--pull-requests"]
    done = runner.invoke(main, [*command, "--status-token-file", str(tmp_path / "token"), "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["paths"], shown["has_token"], shown["pull_requests"]) == (["a/**"], True, True)
    assert "forge-t0ken" not in done.output
    assert shown["id"] in runner.invoke(main, ["hooks", "list"]).stdout
    assert runner.invoke(main, ["hooks", "remove", shown["id"]]).exit_code == 0
    wrong = runner.invoke(main, [*command[:2], "shop/cli", "https://me:s3cret@x/y", "--provider", "github"])
    assert (wrong.exit_code, "s3cret" in wrong.output) == (2, False)
    noted = Audit(module_farm.database).newest(20)
    verbs = [one.verb for one in noted if one.object.split(" ")[1:2] in (["client"], ["cli"])]
    assert (verbs.count("hook.make"), verbs.count("hook.remove")) == (3, 3)
