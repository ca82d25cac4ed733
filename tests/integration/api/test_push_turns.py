"""Turns of push hooks, with a real Redis: each test does what the API's process would do."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import pytest

from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.problems import RefusedError
from buildfarm.api.webhooks.delivery import make_deliveries
from buildfarm.api.webhooks.pushes.bodies import SMALL_BYTES, Bodies
from buildfarm.api.webhooks.pushes.work import make_push_work
from buildfarm.errors import QueueFullError
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind
from buildfarm.sources.pushes.hook import NewHook
from buildfarm.sources.pushes.order import WAITING_MAX
from buildfarm.sources.pushes.state import absorb, settled
from buildfarm.store.keeping.push_inbox import PushInbox
from testkit.queue import pushes as sent
from testkit.queue.pushes import ZEROS, commit, encoded, github_push, signed
from tests.integration.api.push_work import builds, door_of, take, turns, work_of


@pytest.fixture
def alone(farm):
    """A farm without a process of its API: tests act for it."""
    made = farm.make_hook(
        NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, run_policy="all")
    )
    return farm, door_of(farm), made


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
