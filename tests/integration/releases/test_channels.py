"""Channels: who points them where, which base an app's builds get, and what is refused.

Redis is real. The registry is in this process.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from buildfarm.api.bodies import NewAppChannel, NewBuilder, NewChannel
from buildfarm.api.routes import channels as routes
from buildfarm.api.routes.apps import set_app_channel
from buildfarm.api.routes.farm import promote
from buildfarm.errors import ConflictError, NotFoundError, RegistryError, RequestError, UnconfirmedError
from buildfarm.farm import open_farm
from buildfarm.gc.farm_garbage import FarmGarbage
from buildfarm.model import BuildRequest, ImageRequest
from buildfarm.node import Node, NodeState
from buildfarm.releases.channels.pointers import HISTORY_MAX, Pointers
from buildfarm.releases.models import Rebase
from buildfarm.sources.address import ArtifactSource
from buildfarm.store import Lease, Leases, Nodes, Unclaimed
from testkit.archive import FAILURE, Life
from testkit.registry.builder import push_builder, push_patched
from testkit.registry.fake import FakeRegistry

DIGEST = "sha256:" + "a" * 64
SOURCE = ArtifactSource(repository="sources/t", digest=DIGEST)
LABELS = {"buildfarm.platform": "2", "io.buildpacks.stack.id": "buildfarm.trixie"}


@pytest.fixture
def farm(settings):
    with FakeRegistry() as fake:
        own = settings.model_copy(update={"registry_url": f"http://{fake.host}", "builder": ""})
        with open_farm(own) as farm:
            yield farm


@pytest.fixture
def bases(farm):
    """Three bases, named by when they were made."""
    small = push_builder(farm.registry)
    return [
        push_patched(farm.registry, small, {"patch": str(day)}, f"2026-01-0{day}T00:00:00Z", Labels=LABELS)
        for day in (1, 2, 3)
    ]


@pytest.fixture
def leases(farm):
    return Leases(farm.admission, 9, 3)


def tag(farm, name):
    return "builder@" + farm.registry.get_manifest("builder", name)[2]


def submitted(farm, app="a", **fields):
    return farm.submit(BuildRequest(tenant="t", app=app, source=SOURCE, cached_result=False, **fields)).id


def has(stable, *others, **channels):
    """What a node with these bases tells at a claim."""
    named = {"stable": stable, **channels}
    return json.dumps({"channels": named, "has": dict.fromkeys([*named.values(), *others], 1)})


# Pointers.


def test_a_channel_points_to_a_base_with_a_tag_and_remembers_who_pointed_it_where(farm, bases):
    first, second, third = bases
    assert farm.channels() == []
    assert farm.set_channel("stable", first) == farm.builder() == first
    assert farm.set_channel("next", second, reason="libssl is patched") == second
    farm.set_channel("next", third)
    assert [(channel.name, channel.base) for channel in farm.channels()] == [("stable", first), ("next", third)]
    assert (tag(farm, "stable"), tag(farm, "next")) == (first, third)
    found = farm.channel("next")
    assert [(change.base, change.reason) for change in found.changes] == [(third, ""), (second, "libssl is patched")]
    assert all(change.actor and change.at == pytest.approx(farm.database.now(), abs=60) for change in found.changes)
    farm.set_channel("next", third, reason="again")
    assert farm.channel("next") == found, "what changes nothing is not a change"


def test_promoting_a_builder_is_setting_stable_and_older_versions_do_it_without_a_word(farm, bases):
    first, second, _ = bases
    assert farm.promote_builder(first) == first
    assert [change.base for change in farm.channel("stable").changes] == [first]
    # An older version writes the base alone, and reads what a newer one wrote.
    assert farm.database.client.get(farm.database.key("promoted")) == first
    farm.database.client.set(farm.database.key("promoted"), second)
    found = farm.channel("stable")
    assert (found.base, found.actor, found.at) == (second, "", None)
    assert farm.app_channel("t", "a").base == second


def test_the_settings_name_stable_as_long_as_nothing_else_does(settings, farm, bases):
    first, second, _ = bases
    with open_farm(farm.settings.model_copy(update={"builder": first})) as named:
        assert [(channel.name, channel.base) for channel in named.channels()] == [("stable", first)]
        assert named.channel("stable").changes == ()
        assert named.app_channel("t", "a").base == first
        assert named.channel_keeper.named() == {first}
        named.set_channel("stable", second)
        assert named.channel_keeper.named() == {second}


def test_a_history_is_bounded_and_outlives_its_channel(farm, bases):
    pointers = Pointers(farm.database)
    for number in range(HISTORY_MAX + 5):
        pointers.set("next", f"builder@{number}", actor="ada", reason="")
    assert len(pointers.history("next")) == HISTORY_MAX
    farm.remove_channel("next", reason="the trial is over")
    assert pointers.history("next")[0].reason == "the trial is over"
    assert 0 < farm.database.client.ttl(farm.database.key("channel", "next")) <= 400 * 86_400
    with pytest.raises(NotFoundError, match="There is no channel next"):
        farm.channel("next")


def test_of_changes_at_once_each_is_whole(farm, bases):
    pointers = Pointers(farm.database)
    names = [f"builder@{number}" for number in range(20)]
    threads = [
        threading.Thread(target=pointers.set, args=("next", name), kwargs={"actor": name, "reason": ""})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = pointers.history("next")
    assert Counter(change.base for change in changes) == Counter(names)
    assert all(change.actor == change.base for change in changes)
    assert pointers.get("next") == changes[0].base


def test_too_few_replicas_of_redis_are_told_of(settings, farm, bases):
    impossible = farm.settings.model_copy(update={"replicas_min": 9, "replica_wait_seconds": 0.05})
    with open_farm(impossible) as lonely, pytest.raises(UnconfirmedError, match="The channel next was changed, but"):
        lonely.set_channel("next", bases[0])


# What is refused.


@pytest.mark.parametrize("name", ["latest", "Next", "a_b", "", "x" * 31, "-a", "a/b", "next\n"])
def test_a_name_that_no_channel_can_have(farm, bases, name):
    with pytest.raises(RequestError, match="cannot be the name of a channel"):
        farm.set_channel(name, bases[0])


def test_a_base_that_is_not_there_or_is_an_app_s_image(farm, bases):
    with pytest.raises(RequestError, match="has no image builder:absent"):
        farm.set_channel("next", "builder:absent")
    with pytest.raises(RequestError, match="is not a builder: its label"):
        farm.set_channel("next", "builder:latest")
    repository, _, digest = bases[0].partition("@")
    manifest, _ = farm.registry.read_manifest(repository, digest)
    media_type, content, _ = farm.registry.get_manifest(repository, digest)
    for blob in (manifest.config, *manifest.layers):
        assert farm.registry.mount("apps/t/a", blob.digest, repository)
    farm.registry.put_manifest("apps/t/a", content, media_type, tag="latest")
    with pytest.raises(RequestError, match="is an app's image, not a builder"):
        farm.set_channel("next", "apps/t/a:latest")
    assert farm.channels() == []


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines", "\x1b[31m"])
def test_a_reason_that_is_no_line(farm, bases, reason):
    with pytest.raises(RequestError, match="The reason is too long or has control characters"):
        farm.set_channel("next", bases[0], reason=reason)


def test_a_tag_that_belongs_to_an_image_is_not_taken_over(farm, bases):
    first, second, _ = bases
    media_type, content, _ = farm.registry.get_manifest("builder", first.partition("@")[2])
    farm.registry.put_manifest("builder", content, media_type, tag="trixie")
    with pytest.raises(RequestError, match="has another image under the tag trixie"):
        farm.set_channel("trixie", second)
    farm.set_channel("next", first)
    farm.remove_channel("next")
    farm.set_channel("next", second)  # its own tag, which nothing removes
    assert tag(farm, "next") == second


def test_a_registry_that_fails_changes_nothing_that_a_second_try_does_not_mend(farm, bases):
    farm.set_channel("next", bases[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(farm.registry), "move_tag", lambda *_: (_ for _ in ()).throw(RegistryError("away")))
        with pytest.raises(RegistryError):
            farm.set_channel("next", bases[1])
    assert (farm.channel("next").base, tag(farm, "next")) == (bases[1], bases[0])
    farm.set_channel("next", bases[1])
    assert tag(farm, "next") == bases[1]


def test_a_change_that_took_effect_is_in_the_audit_log_also_if_its_tag_does_not_follow(farm, bases):
    notes = []
    caller = SimpleNamespace(
        services=SimpleNamespace(farm=farm),
        token=SimpleNamespace(name="ada"),
        note=lambda *entry, tenant: notes.append(entry),
    )
    with pytest.raises(RequestError):
        routes.set_channel("next", NewChannel(base="builder:absent"), caller)
    assert notes == [], "nothing was changed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(farm.registry), "move_tag", lambda *_: (_ for _ in ()).throw(RegistryError("away")))
        with pytest.raises(RegistryError):
            routes.set_channel("next", NewChannel(base=bases[0], reason="a trial"), caller)
        with pytest.raises(RegistryError):
            promote(NewBuilder(reference=bases[1]), caller)
    routes.set_channel("next", NewChannel(base=bases[1]), caller)
    impossible = farm.settings.model_copy(update={"replicas_min": 9, "replica_wait_seconds": 0.05})
    with open_farm(impossible) as lonely:
        caller.services.farm = lonely
        with pytest.raises(UnconfirmedError):
            routes.remove_channel("next", caller)
        with pytest.raises(UnconfirmedError, match="The channel of t/a was changed, but"):
            set_app_channel("t", "a", NewAppChannel(channel="stable"), caller)
    assert notes == [
        ("channels.set", f"next: {bases[0]} (a trial)", "unfinished"),
        ("builder.promote", bases[1], "unfinished"),
        ("channels.set", f"next: {bases[1]}"),
        ("channels.remove", f"next: {bases[1]}", "unfinished"),
        ("apps.channel", "t/a: stable", "unfinished"),
    ]


def test_a_channel_that_apps_follow_stays_and_stable_always(farm, bases):
    farm.promote_builder(bases[0])
    farm.set_channel("next", bases[1])
    for app in ("b", "a", "c"):
        farm.set_app_channel("t", app, "next")
    with pytest.raises(ConflictError, match="cannot be removed: t/a and 2 others follow it") as refused:
        farm.remove_channel("next")
    assert refused.value.advice == "Choose another for each: buildfarm apps channel t/a stable"
    for app in "abc":
        farm.set_app_channel("t", app, "stable")
    assert farm.remove_channel("next") == bases[1]
    assert not farm.database.client.exists(farm.database.key("app-channels"))
    with pytest.raises(NotFoundError, match="There is no channel next"):
        farm.remove_channel("next")
    with pytest.raises(RequestError, match="The channel stable cannot be removed"):
        farm.remove_channel("stable")


# Apps.


def test_an_app_follows_a_channel_and_a_rollout_goes_before_it(farm, bases):
    first, second, third = bases
    farm.promote_builder(first)
    farm.set_channel("next", second)
    assert farm.app_channel("t", "a").model_dump(exclude={"tenant", "app"}) == {
        "channel": "stable", "base": first, "by_rollout": False,
    }  # fmt: skip
    with pytest.raises(NotFoundError, match="There is no channel beta"):
        farm.set_app_channel("t", "a", "beta")
    with pytest.raises(RequestError, match="The farm's own images follow no channel"):
        farm.set_app_channel("images", "redis", "next")
    assert farm.set_app_channel("t", "a", "next").base == second
    assert farm.app_channel("t", "b").base == first
    farm.database.client.hset(farm.database.key("app-bases"), "t/a", third)
    found = farm.app_channel("t", "a")
    assert (found.channel, found.base, found.by_rollout) == ("next", third, True)
    assert farm.channel_keeper.named() == {first, second, third}


def test_a_channel_that_a_restored_redis_lacks_is_stable(farm, bases, leases):
    farm.promote_builder(bases[0])
    farm.set_channel("next", bases[1])
    farm.set_app_channel("t", "a", "next")
    farm.database.client.delete(farm.database.key("channels"))
    assert (farm.app_channel("t", "a").channel, farm.app_channel("t", "a").base) == ("stable", bases[0])
    assert leases.claim(submitted(farm), "n", bases=has(bases[0])).build.channel == "stable"


def test_a_request_is_answered_with_an_equal_build_s_image_only_on_its_own_base(farm, bases):
    """The digest of the whole input has the app's base in it."""
    asked = []
    farm.promote_builder(bases[0])
    farm.set_channel("next", bases[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("buildfarm.store.archive.History.cached_result", lambda _, __, digest: asked.append(digest))
        for channel in ("stable", "next", "stable"):
            farm.set_app_channel("t", "a", channel)
            farm.submit(BuildRequest(tenant="t", app="a", source=SOURCE))
        farm.database.client.hset(farm.database.key("app-bases"), "t/a", bases[1])
        farm.submit(BuildRequest(tenant="t", app="a", source=SOURCE))
    assert asked[0] == asked[2]
    assert len({*asked}) == 3, "an image also names the channel"


# Claims.


def test_the_claim_says_which_base_the_build_stands_on_and_the_record_keeps_it(farm, bases, leases):
    first, second, third = bases
    farm.promote_builder(first)
    farm.set_channel("next", second)
    farm.set_app_channel("t", "b", "next")
    farm.database.client.hset(farm.database.key("app-bases"), "t/c", third)
    node = has(first, third, next=second)
    found = {app: leases.claim(submitted(farm, app), "n", bases=node).build for app in "abc"}
    assert {app: (build.channel, build.base) for app, build in found.items()} == {
        "a": ("stable", first), "b": ("next", second), "c": ("stable", third),
    }  # fmt: skip
    assert farm.get(found["b"].id).base == second
    own = farm.records.submit("0" * 16, ImageRequest(image="redis", version="7.2", source=SOURCE), "build.bulk.1")
    assert leases.claim(own.build_id, "n", bases=node).build.base == "", "its image stands on no builder"


def test_a_channel_that_has_just_moved_is_where_it_was_until_the_node_has_its_new_base(farm, bases, leases):
    first, second, third = bases
    farm.promote_builder(second)
    assert leases.claim(submitted(farm), "n", bases=has(first)).build.base == first
    farm.database.client.hset(farm.database.key("app-bases"), "t/b", third)
    assert leases.claim(submitted(farm, "b"), "n", bases=has(first)) == Unclaimed("base"), "a rollout's is exact"


def test_an_app_that_was_moved_to_the_channel_s_base_is_not_taken_back_by_a_node_that_lags(farm, bases, leases):
    first, second, third = bases
    farm.promote_builder(second)
    for app, base in (("moved", second), ("earlier", third)):
        moved = Rebase(at=1, image=DIGEST, previous=DIGEST, built=DIGEST, base=base, previous_base=first, moved=True)
        farm.database.client.lpush(farm.database.key("rebases", f"t/{app}"), moved.model_dump_json())
    assert leases.claim(submitted(farm, "moved"), "n", bases=has(first)) == Unclaimed("base")
    assert leases.claim(submitted(farm, "earlier"), "n", bases=has(first)).build.base == first
    assert leases.claim(submitted(farm, "never"), "n", bases=has(first)).build.base == first


def test_a_build_is_not_offered_to_a_node_that_lacks_its_base(farm, bases, leases):
    first, second, _ = bases
    farm.promote_builder(first)
    lease = leases.claim(submitted(farm), "n", bases=has(first))
    leases.succeed(lease, Life(farm).result("a"))
    held = {first: (first,), second: (first, second)}

    def claimed(newest):
        digests = tuple(base.partition("@")[2] for base in held[newest])
        node = Node(id="n", state=NodeState.READY, slots=9, builder=digests[0], builders=digests)
        Nodes(farm.database).beat(node, "interactive")
        return leases.claim(submitted(farm), "m", offer=True, bases=has(second))

    farm.set_channel("stable", second)
    lease = claimed(first)
    assert isinstance(lease, Lease)
    leases.cancel(lease)
    assert claimed(second).reason == "offered"


def test_a_node_without_the_base_leaves_the_build_to_others_and_the_next_one_is_not_late(farm, bases, leases):
    first, second, _ = bases
    farm.promote_builder(first)
    farm.set_channel("next", second)
    farm.set_app_channel("t", "a", "next")
    build = submitted(farm)
    queue = farm.database.client.hget(farm.database.key("build", build), "queue")
    farm.database.client.delete(farm.database.key(queue))  # a node has taken its message
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("base")
    assert isinstance(leases.claim(submitted(farm, "other"), "n", bases=has(first)), Lease)
    assert (farm.get(build).state, farm.get(build).attempt) == ("queued", 0)
    Nodes(farm.database).beat(Node(id="n", state=NodeState.READY, slots=2))
    assert farm.queue_position(farm.get(build)).cause == "base"
    assert (leases.send_due(10), leases.waiting_count()) == (0, 1)
    farm.database.client.zadd(farm.database.key("retries"), {build: 1})  # a second later
    assert leases.send_due(10) == 1
    assert build in farm.database.client.lindex(farm.database.key("build.interactive.retry"), 0)
    lease = leases.claim(build, "m", bases=has(first, next=second))
    assert (lease.attempt, lease.build.base, leases.waiting_count()) == (1, second, 0)


def test_a_build_whose_base_no_node_has_ends_when_it_may_wait_no_longer(farm, bases, leases):
    farm.promote_builder(bases[0])
    farm.database.client.hset(farm.database.key("app-bases"), "t/a", f"builder@{DIGEST}")
    build = submitted(farm, expires_in_seconds=600)
    assert leases.claim(build, "n", bases=has(bases[0])) == Unclaimed("base")
    farm.database.client.hset(farm.database.key("build", build), "expires_at", 1)  # ten minutes later
    assert leases.claim(build, "n", bases=has(bases[0])) == Unclaimed("expired")
    assert leases.waiting_count() == 0


def lacking(farm, leases, app="a", **fields):
    """A build of an app on the channel next, whose base the node that claims it lacks."""
    farm.set_app_channel("t", app, "next")
    build = submitted(farm, app, **fields)
    assert leases.claim(build, "n", bases=has(farm.builder())) == Unclaimed("base")
    return build


def waited(farm, build, seconds, ago=1.0):
    """The build has waited for so many seconds for its base when a node last claimed it, so long ago."""
    fields = {"lacked": seconds, "lacked_at": farm.database.now() - ago}
    farm.database.client.hset(farm.database.key("build", build), mapping=fields)


def test_builds_that_wait_for_a_base_keep_no_others_of_their_tenant_from_the_queues(farm, bases, leases):
    farm.promote_builder(bases[0])
    farm.set_channel("next", bases[1])
    stuck = [lacking(farm, leases, f"a{number}") for number in range(6)]
    other = submitted(farm, "other")
    assert isinstance(leases.claim(other, "n", bases=has(bases[0])), Lease)
    lease = leases.claim(stuck[0], "m", bases=has(bases[0], next=bases[1]))
    assert lease.build.base == bases[1]
    for build in stuck[1:]:
        farm.cancel(build)
    farm.cancel(stuck[0])
    leases.cancel(lease)
    # They are gone from the count too: as few builds as ever stand in the queues.
    states = [farm.get(submitted(farm, f"b{number}")).state for number in range(6)]
    assert states == ["queued"] * 4 + ["held"] * 2


def test_a_build_fails_when_no_node_had_its_base_for_a_quarter_of_an_hour(farm, bases, leases):
    first, second, _ = bases
    farm.promote_builder(first)
    farm.set_channel("next", second)
    build = lacking(farm, leases)
    waited(farm, build, 800.0, ago=3600.0)
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("base"), "an hour without a node counts as a minute"
    waited(farm, build, 899.5)
    digest = second.partition("@")[2]
    other = Node(id="m", state=NodeState.READY, slots=1, builder=digest, builders=(digest,))
    Nodes(farm.database).beat(other.model_copy(update={"classes": ("interactive", "bulk")}))
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("base"), "another node has it"
    Nodes(farm.database).beat(other.model_copy(update={"classes": ("bulk",)}))
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("failed")
    ended = farm.get(build)
    assert (ended.state, ended.failure.code, ended.attempt) == ("failed", "farm.base", 0)
    assert ended.failure.message == "For 15 minutes no build node had the base that the build was to stand on."
    assert leases.waiting_count() == 0
    assert not farm.database.client.exists(farm.database.key("lacking", "interactive", "t"))


def test_the_wait_begins_anew_for_another_base_and_another_attempt_waits_no_longer(farm, bases, leases):
    first, second, third = bases
    farm.promote_builder(first)
    farm.set_channel("next", second)
    build = lacking(farm, leases)
    waited(farm, build, 899.5)
    farm.set_channel("next", third)
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("base")
    lease = leases.claim(build, "m", bases=has(first, next=third))
    leases.give_back(lease, FAILURE)
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("base")
    waited(farm, build, 899.5)
    assert leases.claim(build, "n", bases=has(first)) == Unclaimed("failed")


def test_another_attempt_by_an_older_node_has_no_base_of_the_one_before(farm, bases, leases):
    farm.promote_builder(bases[0])
    build = submitted(farm)
    lease = leases.claim(build, "n", bases=has(bases[0]))
    leases.give_back(lease, FAILURE)
    # As the claim of an older version, which leaves the field as it is.
    farm.database.client.hincrby(farm.database.key("build", build), "attempt", 1)
    assert (farm.get(build).base, farm.get(build).channel) == ("", "")


def test_a_collection_keeps_what_builds_stand_on(farm, bases, leases):
    first, second, third = bases
    farm.promote_builder(first)
    build = submitted(farm)
    lease = leases.claim(build, "n", bases=has(first))
    farm.set_channel("stable", second)
    farm.set_channel("next", third)
    used = FarmGarbage(farm.history, farm.settings, farm.channel_keeper.named()).used()
    digests = [base.partition("@")[2] for base in bases]
    assert set(digests) <= set(used)
    leases.cancel(lease)
    used = FarmGarbage(farm.history, farm.settings, farm.channel_keeper.named()).used()
    assert set(digests[1:]) <= set(used)
    assert digests[0] not in used


def test_a_collection_keeps_what_a_node_builds_on_until_it_has_a_channel_s_new_base(farm, bases):
    first, second, _ = bases
    farm.promote_builder(first)
    farm.set_channel("stable", second)
    digest = first.partition("@")[2]
    Nodes(farm.database).beat(Node(id="n", state=NodeState.READY, slots=1, builder=digest, builders=(digest,)))
    assert digest in FarmGarbage(farm.history, farm.settings, farm.channel_keeper.named()).used()
    Nodes(farm.database).leave("n")
    assert digest not in FarmGarbage(farm.history, farm.settings, farm.channel_keeper.named()).used()


# Nodes.


def test_a_heartbeat_is_answered_with_every_channel_and_whether_rollouts_go_before_them(farm, bases):
    nodes = Nodes(farm.database)
    first, second, third = bases

    def orders():
        held = (first.partition("@")[2], second.partition("@")[2])
        return nodes.beat(Node(id="n", state=NodeState.READY, slots=1, builder=held[0], builders=held))

    assert (orders().builder, orders().channels, orders().moved) == ("", {}, 0)
    farm.promote_builder(first)
    farm.set_channel("next", second)
    farm.database.client.hset(farm.database.key("app-bases"), mapping={"t/a": third, "t/b": third, "t/c": first})
    assert (orders().builder, orders().channels, orders().moved) == (first, {"next": second}, 3)
    assert farm.app_bases.moved() == {first, third}
    [node] = farm.nodes()
    assert [node.has(base) for base in (*bases, "")] == [True, True, False, False]
