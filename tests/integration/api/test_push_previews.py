"""Apps of pull requests come, come back and go, with a real Redis: each test does what the API's process would do."""

from __future__ import annotations

import json

import pytest

from buildfarm.errors import RequestError
from buildfarm.model import BuildRequest, State
from buildfarm.sources.address import GitSource
from buildfarm.sources.pushes.hook import NewHook
from buildfarm.store import Tags
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.store.keeping.running import ImagesInUse
from testkit.queue import pushes as sent
from testkit.queue.pushes import commit
from tests.integration.api.push_work import builds, door_of, end, take, turns, work_of

INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def previewing(farm):
    """A farm without a process of its API, and a hook for pull requests."""
    new = NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, pull_requests=True)
    return farm, door_of(farm), farm.make_hook(new)


def pull(action, number, sha, at):
    return sent.github_pull(action, number, sha, at=at)


def submit(farm, app):
    source = GitSource(url=sent.GITHUB, ref=commit(1))
    return farm.submit(BuildRequest(tenant="shop", app=app, source=source))


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
