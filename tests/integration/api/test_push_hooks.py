"""Pushes become builds: over real HTTP, with a real Redis and a fake of the forge's API for statuses."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest
from click.testing import CliRunner

from buildfarm.access import Audit, Rates
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.problems import RefusedError
from buildfarm.api.webhooks.delivery import make_deliveries
from buildfarm.api.webhooks.pushes.bodies import SMALL_BYTES, Bodies
from buildfarm.api.webhooks.pushes.door import Door
from buildfarm.api.webhooks.pushes.work import make_push_work
from buildfarm.cli import main
from buildfarm.client import AsyncClient, Client
from buildfarm.errors import NotFoundError, QueueFullError, RequestError
from buildfarm.model import BuildRequest, BuildResult, State
from buildfarm.sources.address import GitSource
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind
from buildfarm.sources.pushes.hook import NewHook
from buildfarm.sources.pushes.order import WAITING_MAX
from buildfarm.sources.pushes.state import absorb, settled
from buildfarm.store import Lease, Leases, Tags
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.store.keeping.running import ImagesInUse
from testkit.archive import FAILURE
from testkit.builds import promised, wait_for
from testkit.queue import pushes as sent
from testkit.queue.pushes import ZEROS, commit, encoded, fake_forge, github_push, signed, standard
from testkit.serving import serving

SECONDS = 60
INDEX = "application/vnd.oci.image.index.v1+json"


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


def builds(farm, app):
    return farm.recent(100, tenant="shop", app=app)


def built(farm, app, number=1):
    wait_for(lambda: len(builds(farm, app)) >= number, SECONDS)
    return builds(farm, app)[0]


def end(farm, build_id, *, failed=False, digest=f"sha256:{'a' * 64}"):
    leases = Leases(farm.admission, 60, 3)
    lease = leases.claim(build_id, "node")
    assert isinstance(lease, Lease), lease
    if failed:
        leases.fail(lease, FAILURE)
        return
    target = farm.get(build_id).request.target
    result = BuildResult(
        repository=target, digest=digest, tag="latest", layers=(), uploaded_bytes=0, phase_seconds={},
        node="node", attempt=1,
    )  # fmt: skip
    leases.publish(lease, target, result)
    leases.succeed(lease, result)


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


@pytest.fixture
def alone(farm):
    """A farm without a process of its API: tests act for it."""
    made = farm.make_hook(
        NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, run_policy="all")
    )
    return farm, Door(farm, Rates(farm.database), ApiMetrics()), made


def take(door, made, payload):
    body = encoded(payload)
    headers = {name.lower(): text for name, text in signed("github", made.secret, body).items()}
    return door.take(door.admit(made.id, "127.0.0.1"), headers, body, "127.0.0.1").result


def test_a_process_that_dies_in_its_turn_loses_no_push_and_builds_none_twice(alone):
    farm, door, made = alone
    work = make_push_work(make_deliveries(farm, ApiMetrics()))
    webhooks = work.deliveries.webhooks
    for pair in ((ZEROS, commit(1)), (commit(1), commit(2))):
        assert take(door, made, github_push(*pair)) == "new"
    [turn] = webhooks.due()
    assert webhooks.begin(turn) == 1  # and its process dies; or later, when it has submitted and not saved
    inbox = PushInbox(farm.database)
    version, state = inbox.state(made.id)
    _, changes = inbox.read(made.id, 10)
    state = settled(absorb(state, changes[0], "main", farm.database.now()), farm.database.now())
    hook = farm.push_hooks.get(made.id).hook
    work.builds._one(hook, state.ready[0], inbox)
    farm.database.client.zadd(farm.database.key("webhooks", "tenants"), {turn.tenant: 0})  # as if a minute were over
    farm.database.client.zadd(farm.database.key("webhooks", "due", turn.tenant), {turn.build_id: 0})
    assert webhooks.due() == [turn]
    assert work.deliver(turn) == "done"
    assert inbox.save(made.id, version, state, 2) == 0, "the dead one comes back, and undoes nothing"
    assert [build.request.source.ref for build in builds(farm, "web")] == [commit(2), commit(1)]
    assert take(door, made, github_push(commit(1), commit(2))) == "seen"
    assert webhooks.due() == []


def test_a_tenant_that_pushes_too_often_waits_and_loses_nothing(alone):
    farm, door, made = alone
    settings = farm.settings.model_copy(update={"api_builds_per_minute": 2})
    work = make_push_work(make_deliveries(replace(farm, settings=settings), ApiMetrics()))
    commits = [ZEROS, *map(commit, range(4))]
    for pair in pairwise(commits):
        take(door, made, github_push(*pair))
    [turn] = work.deliveries.webhooks.due()
    assert work.deliver(turn) == "again"
    assert len(builds(farm, "web")) == 2
    assert [one.commit for one in PushInbox(farm.database).state(made.id)[1].ready] == commits[3:]


def pull(action, number, sha, at):
    return sent.github_pull(action, number, sha, at=at)


def work_of(farm, **settings):
    farm = replace(farm, settings=farm.settings.model_copy(update={"api_builds_per_minute": 1000, **settings}))
    return make_push_work(make_deliveries(farm, ApiMetrics()))


def turns(work):
    """All that is due now is done."""
    while due := work.deliveries.webhooks.due():
        for one in due:
            work.deliver(one)


def submit(farm, app):
    source = GitSource(url=sent.GITHUB, ref=commit(1))
    return farm.submit(BuildRequest(tenant="shop", app=app, source=source))


@pytest.fixture
def previewing(farm):
    """The same, with pull requests."""
    new = NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, pull_requests=True)
    return farm, Door(farm, Rates(farm.database), ApiMetrics()), farm.make_hook(new)


def test_an_app_that_was_there_before_is_no_preview_and_stays(previewing):
    farm, door, made = previewing
    work, own = work_of(farm), submit(farm, "web-pr-12")
    Tags(farm.database).point("apps/shop/web-pr-12", f"sha256:{'b' * 64}", "")
    take(door, made, pull("opened", 12, commit(1), 1))
    turns(work)
    assert "shop/web-pr-12 exists already" in farm.push_hooks.view(made.id).last
    take(door, made, pull("closed", 12, commit(1), 2))
    turns(work)
    work.previews.end_due()
    assert [build.id for build in builds(farm, "web-pr-12")] == [own.id]
    assert farm.get(own.id).state is State.QUEUED
    assert farm.records.tag_target("apps/shop/web-pr-12") == f"sha256:{'b' * 64}"
    assert work.deliveries.webhooks.due() == []


def test_a_preview_can_come_back_and_be_taken_over_from_a_hook_that_is_gone_alone(previewing):
    farm, door, made = previewing
    work = work_of(farm)
    with pytest.raises(RequestError, match="has a push hook for pull requests already"):
        farm.make_hook(NewHook(tenant="shop", app="web", provider="gitea", repository=sent.GITEA, pull_requests=True))
    for number, (action, at) in enumerate([("opened", 1), ("closed", 2), ("reopened", 3)]):
        take(door, made, pull(action, 12, commit(number), at))
        turns(work)
        work.previews.end_due()
    assert [build.state for build in builds(farm, "web-pr-12")] == [State.QUEUED, State.CANCELLED]
    farm.remove_hook(made.id)
    again = farm.make_hook(
        NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, pull_requests=True)
    )
    take(door, again, pull("synchronize", 12, commit(7), 4))
    turns(work)
    work.previews.end_due()
    assert builds(farm, "web-pr-12")[0].state is State.QUEUED


def test_the_image_of_a_preview_goes_when_it_no_longer_runs(previewing):
    farm, door, made = previewing
    work, target = work_of(farm), "apps/shop/web-pr-12"
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    digest = str(farm.registry.put_manifest(target, index, INDEX, tag=None))
    take(door, made, pull("opened", 12, commit(1), 1))
    turns(work)
    end(farm, builds(farm, "web-pr-12")[0].id, digest=digest)
    ImagesInUse(farm.database).report("host", [digest], 60)
    take(door, made, pull("closed", 12, commit(1), 2))
    turns(work)
    work.previews.end_due()
    assert farm.records.tag_target(target) == digest
    assert farm.registry.has_manifest(target, digest)
    ImagesInUse(farm.database).report("host", [], 60)
    PushInbox(farm.database).keep_preview(made.id, "shop", "web-pr-12", 0)  # as if five minutes were over
    work.previews.end_due()
    assert farm.records.tag_target(target) == ""
    assert not farm.registry.has_manifest(target, digest)


def test_a_push_that_comes_while_its_preview_is_to_end_is_built(previewing):
    farm, door, made = previewing
    work, inbox = work_of(farm), PushInbox(farm.database)
    take(door, made, pull("opened", 12, commit(1), 1))
    turns(work)
    inbox.keep_preview(made.id, "shop", "web-pr-12", 0)
    [(name, score)] = inbox.previews_due(5)
    take(door, made, pull("synchronize", 12, commit(2), 2))
    turns(work)
    assert not inbox.preview_is_due(name, score)
    assert not work.previews._end(made.id, "shop", "web-pr-12", farm.get(builds(farm, "web-pr-12")[1].id).submitted_at)
    assert builds(farm, "web-pr-12")[0].state is State.QUEUED


def test_a_push_that_comes_while_a_turn_ends_gets_a_turn(alone, monkeypatch):
    farm, door, made = alone
    work = work_of(farm)
    take(door, made, github_push(ZEROS, commit(1)))
    turn = type(work.builds)._turn

    def slow(*args):
        found = turn(*args)
        take(door, made, github_push(commit(1), commit(2)))
        return found

    monkeypatch.setattr(type(work.builds), "_turn", slow)
    [due] = work.deliveries.webhooks.due()
    work.deliver(due)
    monkeypatch.setattr(type(work.builds), "_turn", turn)
    turns(work)
    assert [build.request.source.ref for build in builds(farm, "web")] == [commit(2), commit(1)]


def test_what_waits_for_a_hook_is_bounded_and_stays_in_the_inbox(alone):
    farm, _, made = alone
    work, inbox = work_of(farm, api_builds_per_minute=1), PushInbox(farm.database)
    pushed = [
        Wanted(
            key=f"{number}",
            kind=Kind.PUSHED,
            branch="main",
            before=commit(number) if number else "",
            commit=commit(number + 1),
        )
        for number in range(1200)
    ]
    inbox.accept(made.id, "shop", "body", pushed)
    for _ in range(3):
        for one in work.deliveries.webhooks.due():
            work.deliver(one)
        farm.database.client.zadd(farm.database.key("webhooks", "tenants"), {"push.shop": 0})
        farm.database.client.zadd(farm.database.key("webhooks", "due", "push.shop"), {made.id: 0})
    assert len(inbox.state(made.id)[1].ready) <= WAITING_MAX
    assert inbox.read(made.id, 2000)[0] >= 1200 - WAITING_MAX - 1


def test_a_tenant_has_one_turn_of_its_hooks_and_one_status_out(alone):
    farm, door, made = alone
    others = [
        farm.make_hook(NewHook(tenant=tenant, app="b", provider="github", repository=sent.GITHUB))
        for tenant in ("shop", "z")
    ]
    for hook in (made, *others):
        take(door, hook, github_push(ZEROS, commit(1)))
    reports = work_of(farm).reports
    for number in range(3):
        reports.plan("shop", f"{number:016x}", ended=True)
    assert sorted(one.tenant for one in reports.webhooks.due()) == ["push.shop", "push.z", "status.shop"]


def test_a_push_waits_for_room_and_is_refused_after_an_hour(alone, monkeypatch):
    farm, door, made = alone
    work = work_of(farm)

    def full(*_, **__):
        raise QueueFullError("The queue is full.", retry_after_seconds=1.0)

    monkeypatch.setattr(type(farm), "submit", full)
    take(door, made, github_push(ZEROS, commit(1)))
    [due] = work.deliveries.webhooks.due()
    assert work.deliver(due) == "again"
    inbox = PushInbox(farm.database)
    [waiting] = inbox.state(made.id)[1].ready
    hook = farm.push_hooks.get(made.id).hook
    assert work.builds._one(hook, waiting, inbox) == 60.0
    assert work.builds._one(hook, waiting.model_copy(update={"came": 1.0}), inbox) == 0.0
    assert farm.push_hooks.view(made.id).last.endswith("The queue is full.")


def test_a_tenant_does_not_learn_where_a_name_leads(alone):
    farm, door, _ = alone
    new = {"provider": "github", "repository": sent.GITHUB, "status_token": "t0ken"}
    urls = ["http://localhost:1/x", "https://h.example.org:99999/"]
    hooks = [farm.make_hook(NewHook(tenant="shop", app=f"a{n}", api=url, **new)) for n, url in enumerate(urls)]
    for hook in hooks:
        take(door, hook, github_push(ZEROS, commit(1)))
    turns(work_of(farm))
    lasts = [farm.push_hooks.view(hook.id).last for hook in hooks]
    assert lasts[0].endswith("this is not a public address")
    assert lasts[1].endswith("this is not an address")


def test_what_cannot_be_read_holds_up_nothing(alone):
    farm, door, made = alone
    farm.database.client.rpush(farm.database.key("hook", made.id, "inbox"), '{"at": null}')
    take(door, made, github_push(ZEROS, commit(1)))
    turns(work_of(farm))
    assert len(builds(farm, "web")) == 1


def test_large_bodies_are_few_at_once(alone):
    farm, _, made = alone
    hook = farm.push_hooks.get(made.id).hook
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Bodies.of(hook)).grow(SMALL_BYTES + 1)
        fifth = stack.enter_context(Bodies.of(hook))
        fifth.grow(SMALL_BYTES)
        with pytest.raises(RefusedError):
            fifth.grow(SMALL_BYTES + 1)
    assert not Bodies.held


def test_forged_deliveries_use_up_nothing_of_the_hook(alone):
    _, door, made = alone
    door = replace(door, calls_per_minute=1)
    for status in (401, 429):
        with pytest.raises(RefusedError) as caught:
            take(door, made.model_copy(update={"secret": "wrong"}), github_push(ZEROS, commit(1)))
        assert caught.value.status == status
    assert take(door, made, github_push(ZEROS, commit(1))) == "new"


@pytest.mark.parametrize("hook_id", ["made", "f" * 16])
def test_too_many_deliveries_are_refused_before_they_are_read(alone, hook_id):
    _, door, made = alone
    door, codes = replace(door, calls_per_minute=1), []
    for number in range(3):
        try:
            known = door.admit(made.id if hook_id == "made" else hook_id, "127.0.0.1")
            body = encoded({"number": number})
            door.take(known, {n.lower(): t for n, t in signed("github", made.secret, body).items()}, body, "")
        except RefusedError as error:
            codes.append(error.status)
    assert codes[-2:] == [429, 429]
