"""Layers are read in a real sandbox, and exactly the apps that would lose a library are held back from a rollout."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pytest

from buildfarm.errors import NotRebasableError
from buildfarm.farm import Farm, open_farm
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.check import base_layers
from buildfarm.releases.facts.layer import LayerFacts, Unread
from buildfarm.releases.facts.store import FactsStore
from buildfarm.releases.facts.wanted import HELD_SECONDS, Urgency, WantedImages
from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.states import AppState
from buildfarm.store import Nodes
from buildfarm.telemetry import logger
from buildfarm.telemetry.metrics import Metrics
from testkit.builds import empty_namespace
from testkit.registry.builder import archive_of
from testkit.registry.deployed import Deployed
from testkit.registry.elf import library
from testkit.registry.own import registry_on, storage_folder
from workers.caches.facts.reader import FactsReader
from workers.engine import open_engine
from workers.wiring import make_tools, open_facts, open_rollouts

FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
QUICK = Parameters(cohorts=("100%",), soak_seconds=0, failure_budget=1)
FOO = {"usr/lib/libfoo.so.3": library("libfoo.so.3"), "usr/lib/libbar.so.1": library("libbar.so.1")}
NEEDS_FOO = {"app/.venv/lib/x.so": library("", ["libfoo.so.3", "libbar.so.1"])}


@dataclass
class Fleet:
    """A farm with a registry of its own, and this machine's reader of layers."""

    farm: Farm
    deployed: Deployed
    reader: FactsReader

    def read_all(self) -> None:
        for _ in range(20):
            self.reader.newest._look_at = 0.0
            self.reader.turn()
            if self.reader.pool:
                self.reader.pool.remove_used()
            if not self.farm.database.client.exists(self.farm.database.key("facts-wanted", "images")):
                return
        raise AssertionError("layers are still unread")

    def plan(self, base: str, rules: Parameters = QUICK, *, read: bool = True) -> dict[str, tuple[AppState, str]]:
        planned = self.farm.plan_rollout(base, rules)
        engine = open_rollouts(self.farm, Nodes(self.farm.database), logger())
        engine.turn()
        if read:
            self.read_all()
            engine.mover.unread.clear()
            engine.turn()
        found = self.farm.rollout_apps(planned.id)
        return {one.app: (one.state, "; ".join(one.reasons)) for one in found}


@pytest.fixture(scope="module")
def tools(services) -> Iterator[object]:
    own = services.model_copy(update={"node_id": f"test-{uuid.uuid4().hex[:8]}", "warm_sandboxes": 0})
    with open_farm(own) as farm, closing(open_engine(own.docker_url)) as client:
        made = make_tools(own, farm, client, Metrics())
        yield made
        made.pool.empty()
        made.pool.remove_used()


@pytest.fixture
def fleet(settings, tools) -> Iterator[Fleet]:
    with ExitStack() as stack:
        folder = stack.enter_context(storage_folder())
        registry = stack.enter_context(registry_on(folder, settings.docker_url))
        own = settings.model_copy(
            update={"registry_url": f"http://{registry.host}", "builder": "", "layer_facts": True}
        )
        farm = stack.enter_context(open_farm(own))
        reader = open_facts(farm, replace(tools, registry=farm.registry), Nodes(farm.database), list, Metrics())
        yield Fleet(farm, Deployed(farm), reader)
        empty_namespace(own)


def test_exactly_the_app_that_would_lose_a_library_is_held_back(fleet):
    with_foo = fleet.deployed.base(FIRST, files=FOO)
    without = fleet.deployed.base(SECOND, files={"usr/lib/libbar.so.1": FOO["usr/lib/libbar.so.1"]})
    fleet.farm.promote_builder(with_foo)
    fleet.deployed.app("shop/needs", with_foo, files=NEEDS_FOO)
    fleet.deployed.app("shop/brings", with_foo, files={**NEEDS_FOO, "app/lib/libfoo.so.3": FOO["usr/lib/libfoo.so.3"]})
    fleet.deployed.app("shop/plain", with_foo)
    found = fleet.plan(without)
    state, reason = found.pop("shop/needs")
    assert state is AppState.NOT_MOVABLE
    assert "/app/.venv/lib/x.so needs libfoo.so.3, which the new base lacks" in reason
    assert "libbar" not in reason
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ["shop/brings", "shop/plain"], AppState.WAITING
    )
    with pytest.raises(NotRebasableError, match=r"x\.so needs libfoo\.so\.3"):
        fleet.farm.rebase("shop", "needs", base=without)
    assert fleet.farm.rebase("shop", "plain", base=without, dry_run=True).unchecked == ""


def test_an_app_moves_if_the_new_base_has_all_that_it_needs(fleet):
    first, second = fleet.deployed.base(FIRST, files=FOO), fleet.deployed.base(SECOND, files=FOO)
    fleet.farm.promote_builder(first)
    fleet.deployed.app("shop/needs", first, files=NEEDS_FOO)
    assert fleet.plan(second) == {"shop/needs": (AppState.WAITING, "")}


def test_an_app_whose_files_were_not_read_waits_and_then_does_not_move(fleet):
    first, second = fleet.deployed.base(FIRST, files=FOO), fleet.deployed.base(SECOND)
    fleet.farm.promote_builder(first)
    fleet.deployed.app("shop/a", first)
    assert fleet.plan(second, read=False) == {"shop/a": (AppState.UNCHECKED, "its files have not been read yet")}
    engine = open_rollouts(fleet.farm, Nodes(fleet.farm.database), logger())
    now = [0.0]
    engine.mover = replace(engine.mover, clock=lambda: now[0])
    engine.turn()
    now[0] = 1000.0
    engine.turn()
    [one] = fleet.farm.rollout_apps("r1")
    assert (one.state, "its files have not been read yet" in one.reasons[0]) == (AppState.NOT_MOVABLE, True)
    rules = QUICK.model_copy(update={"without_facts": "a fix that cannot wait"})
    assert fleet.plan(second, rules, read=False) == {"shop/a": (AppState.WAITING, "")}
    moved = fleet.farm.rebase("shop", "a", base=second)
    assert moved.moved
    assert "have not been read yet" in moved.unchecked


def test_a_hostile_file_holds_its_own_app_back(fleet):
    first, second = fleet.deployed.base(FIRST, files=FOO), fleet.deployed.base(SECOND, files=FOO)
    fleet.farm.promote_builder(first)
    broken = bytearray(library("libx.so.1", ["libc.so.6"]))
    struct.pack_into("<Q", broken, 40, 1 << 62)  # where its sections are
    fleet.deployed.app("shop/hostile", first, files={"app/\x1b[31mx.so": bytes(broken)})
    fleet.deployed.app("shop/plain", first)
    found = fleet.plan(second)
    state, reason = found["shop/hostile"]
    assert state is AppState.NOT_MOVABLE
    assert r"its files could not be read: app/\x1b[31mx.so: it is damaged" in reason
    assert found["shop/plain"] == (AppState.WAITING, "")


def test_facts_that_are_lost_are_read_again_and_are_equal(fleet):
    base = fleet.deployed.base(FIRST, files=FOO)
    fleet.farm.promote_builder(base)
    fleet.deployed.app("shop/a", base, files=NEEDS_FOO)
    client, keys = fleet.farm.database.client, fleet.farm.database.key("facts", "2", "*")
    fleet.read_all()
    before = {key: client.get(key) for key in client.keys(keys)}
    assert len(before) == 4  # three of the base, one of the app
    client.delete(*before)
    fleet.reader.newest._seen.clear()
    fleet.read_all()
    assert {key: client.get(key) for key in client.keys(keys)} == before


def test_a_layer_that_was_read_is_not_read_again(fleet):
    base = fleet.deployed.base(FIRST, files=FOO)
    fleet.farm.promote_builder(base)
    fleet.deployed.app("shop/a", base, files=NEEDS_FOO, label="same")
    fleet.read_all()
    fleet.deployed.app("shop/b", base, files=NEEDS_FOO, label="same")
    fleet.reader.pool = None  # no sandbox is needed
    fleet.read_all()
    other = fleet.deployed.base(SECOND, files=FOO)
    assert not FactsStore(fleet.farm.database).lacking(
        dict(list(base_layers(fleet.deployed.read(other)).items())[:2])
    )  # fmt: skip


def test_content_that_is_not_that_of_the_diff_id_gives_no_facts(fleet):
    content = archive_of({"app/x": "1"})
    digest = fleet.farm.registry.put_blob("apps/shop/a", content)
    forged = Digest.of(b"another layer")
    with fleet.reader._sandbox() as sandbox:
        fleet.reader._inspect(sandbox, "apps/shop/a@x", Unread(str(digest), len(content), str(forged)))
    assert fleet.reader.store.get([forged])[forged].unknown == "its content is not that of its diff ID"


def test_a_layer_that_cannot_be_read_is_tried_again_later(fleet):
    registry, store = fleet.farm.registry, FactsStore(fleet.farm.database)
    noise = os.urandom(1 << 16)
    digest, diff_id = registry.put_blob("apps/shop/a", noise), Digest.of(noise)
    layer = Unread(str(digest), len(noise), str(diff_id))
    with fleet.reader._sandbox() as sandbox:
        fleet.reader._inspect(sandbox, "apps/shop/a@x", layer)
    assert store.get([diff_id])[diff_id].unknown == "the inspector ended with 1"
    assert store.lacking({diff_id: layer}) == []
    fleet.farm.database.client.delete(fleet.farm.database.key("facts-failed", "2", diff_id.hex))
    assert store.lacking({diff_id: layer}) == [layer]
    store.put(diff_id, LayerFacts(files=("a",)))
    assert store.progress.goes_on()


def test_what_a_plan_waits_for_is_read_first(fleet):
    queue = WantedImages(fleet.farm.database)
    queue.add("apps/t/old@x", Urgency.LATER)
    queue.add("apps/t/app@x", Urgency.LATER)
    queue.add("apps/t/app@x", Urgency.APP)
    queue.add("apps/t/app@x", Urgency.LATER)  # it stays urgent
    queue.add("builder@x", Urgency.BASE)
    assert queue.take(Urgency.APP) == "builder@x"
    assert queue.take(Urgency.APP) == "apps/t/app@x"
    assert queue.take(Urgency.APP) is None
    queue.done("builder@x")
    queue.put_back("apps/t/app@x")
    assert [queue.take(), queue.take(), queue.take()] == ["apps/t/app@x", "apps/t/old@x", None]
    for _ in range(5):
        queue.put_off("apps/t/old@x")
    diff_id = Digest.of(b"layer")
    assert [queue.failed(diff_id) for _ in range(3)] == [1, 2, 3]
    client, key = fleet.farm.database.client, fleet.farm.database.key
    assert 300 < client.ttl(key("facts-taken", "apps/t/old@x")) <= 600
    assert client.ttl(key("facts-wanted", "images")) > 80_000
    assert not FactsStore(fleet.farm.database).progress.goes_on()
    queue.hold("apps/t/app@x")
    assert FactsStore(fleet.farm.database).progress.goes_on()
    assert client.ttl(key("facts-taken", "apps/t/app@x")) <= HELD_SECONDS


def test_images_that_are_put_off_hide_no_others(fleet):
    queue = WantedImages(fleet.farm.database)
    for number in range(250):
        queue.add(f"apps/t/a{number:03}@x", Urgency.APP)
        queue.hold(f"apps/t/a{number:03}@x")
    queue.add("apps/t/z@x", Urgency.LATER)
    queue.add("builder@x", Urgency.LATER_BASE)
    assert [queue.take() for _ in range(3)] == ["builder@x", "apps/t/z@x", None]
    queue.done("apps/t/z@x", "it is gone")
    assert (queue.refused("apps/t/z@x"), queue.refused("builder@x")) == ("it is gone", "")


def test_facts_that_a_process_remembers_do_not_expire(fleet):
    now = [0.0]
    store = FactsStore(fleet.farm.database, clock=lambda: now[0])
    diff_id = Digest.of(b"layer")
    store.put(diff_id, LayerFacts(needs={"path:/bin/sh": ("app/x", 1)}))
    key = fleet.farm.database.key("facts", "2", diff_id.hex)
    store.get([diff_id])
    fleet.farm.database.client.expire(key, 100)
    store.get([diff_id])
    assert fleet.farm.database.client.ttl(key) <= 100, "not at each look"
    now[0] = 4000.0
    assert store.get([diff_id])[diff_id].needs
    assert fleet.farm.database.client.ttl(key) > 86_400


def test_a_plan_lists_what_the_new_base_lacks_of_the_old_one(fleet):
    packages = {f"var/lib/dpkg/info/{name}:amd64.list": "" for name in ("libc6", "perl")}
    first = fleet.deployed.base(FIRST, files={**FOO, **packages, "usr/bin/perl": "1"})
    second = fleet.deployed.base(SECOND, files={**FOO, "var/lib/dpkg/info/libc6:amd64.list": ""})
    fleet.farm.promote_builder(first)
    fleet.deployed.app("shop/a", first)
    assert fleet.plan(second) == {"shop/a": (AppState.WAITING, "")}
    assert fleet.farm.rollout("r1").differences == ("1 packages: perl", "1 commands: perl")
