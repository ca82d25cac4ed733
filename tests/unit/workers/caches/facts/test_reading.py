"""Layers are read apart from builds, and what the sandbox answers is bounded and not trusted."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeError, NotRebasableError, OutOfMemoryError, RegistryError
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.components.layer import PACKED_BYTES_MAX as COMPONENTS_BYTES_MAX
from buildfarm.releases.facts.layer import BASE_PACKED_BYTES_MAX, LayerFacts, Unread
from buildfarm.releases.facts.wanted import HELD_SECONDS, Urgency
from testkit.registry.builder import archive_of
from workers.caches.facts import inspect, newest, reader
from workers.caches.facts.inspect import NotReadError, inspect_layer
from workers.caches.facts.newest import NewestImages
from workers.caches.facts.reader import FactsReader

CONTENT = archive_of({"app/x": "1"})
PACKED = gzip.compress(CONTENT)
LAYER = Unread(str(Digest.of(PACKED)), len(PACKED), str(Digest.of(CONTENT)))
FACTS = LayerFacts(needs={"path:/bin/sh": ("app/x", 1)})
PARTS = (5).to_bytes(4, "big") + b"parts"
IN_A_BUILD = (
    "import sys, workers.pipeline; print(*(name for name in sys.modules if 'facts' in name or 'elftools' in name))"
)


class Sandbox:
    """Takes all of its input, writes ``output`` in pieces, and ends with ``code``."""

    def __init__(self, output=None, code=0, fails=None):
        facts = FACTS.encode()
        output = len(facts).to_bytes(4, "big") + facts + PARTS if output is None else output
        self.output, self.code, self.fails = output, code, fails

    def bound(self, log, check):
        self.log, self.check = log, check
        return self

    def run(self, command, *, stdin):
        for _ in stdin:
            self.check()
        if self.fails:
            raise self.fails
        for at in range(0, len(self.output), 65536):
            self.log(self.output[at : at + 65536])
        return SimpleNamespace(code=self.code)


class Registry:
    """Has one blob."""

    def get_blob(self, repository, digest, *, limit_bytes):
        yield PACKED


def read(sandbox, layer=LAYER, check=lambda: None):
    return inspect_layer(sandbox, Registry(), "apps/t/a", layer, of_base=False, check=check)


def test_builds_do_not_load_what_reads_layers():
    done = subprocess.run([sys.executable, "-c", IN_A_BUILD], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not {name for name in loaded if name.startswith(("workers.caches.facts", "elftools"))}


def test_the_answer_is_the_layers_facts():
    kept = []
    facts = inspect_layer(
        Sandbox(), Registry(), "apps/t/a", LAYER, of_base=False, check=lambda: None, keep=kept.append
    )  # fmt: skip
    assert (facts, kept) == (FACTS, [b"parts"])


@pytest.mark.parametrize(
    ("sandbox", "why"),
    [
        (Sandbox(code=1), "the inspector ended with 1"),
        (Sandbox(b""), "the facts are damaged"),
        (Sandbox(bytes(BASE_PACKED_BYTES_MAX + COMPONENTS_BYTES_MAX + 1)), "the inspector has written too much"),
        (Sandbox((50_000).to_bytes(4, "big") + bytes(50_000)), "bytes of facts"),
    ],
)
def test_a_layer_that_cannot_be_read_has_facts_that_say_why(sandbox, why):
    found = read(sandbox)
    assert (found.needs, found.brings, why in found.unknown) == ({}, {}, True)


def test_other_content_than_the_diff_ids_gives_no_facts():
    other = Unread(LAYER.digest, LAYER.size_bytes, str(Digest.of(b"other")))
    assert read(Sandbox(), other).unknown == "its content is not that of its diff ID"


@pytest.mark.parametrize(
    "sandbox", [Sandbox(code=137), Sandbox(code=152), Sandbox(fails=OutOfMemoryError("It needed more memory."))]
)
def test_what_may_be_the_nodes_fault_is_no_fact(sandbox):
    with pytest.raises(NotReadError):
        read(sandbox)


def test_reading_has_a_deadline(monkeypatch):
    monkeypatch.setattr(inspect, "LAYER_SECONDS", -1.0)
    with pytest.raises(NotReadError, match="takes too long"):
        read(Sandbox())


def test_a_failing_engine_is_no_fact():
    with pytest.raises(NodeError):
        read(Sandbox(fails=NodeError("The engine is unreachable.")))


class Store:
    """Images with some layers each, and what is done with them; it is its own queue."""

    def __init__(self, layers=1, room=Urgency.LATER):
        self.layers = {Digest.of(bytes([n])): Unread("d", 1, str(Digest.of(bytes([n])))) for n in range(layers)}
        self.found, self.calls, self.tries, self._room = {}, [], 0, room
        self.wanted, self.progress, self.why = self, self, ""

    def room(self):
        return self._room

    def take(self, least):
        self.calls.append(f"take {least.name}")
        return "apps/t/a@x"

    def lacking(self, layers):
        return [layer for diff_id, layer in layers.items() if diff_id not in self.found]

    def put(self, diff_id, facts, *, failed=False):
        self.found[diff_id] = facts

    def put_off(self, image):
        self.calls.append("put off")

    def failed(self, diff_id):
        self.tries += 1
        return self.tries

    def stopped(self, why):
        self.why = why

    def hold(self, image):
        self.calls.append("hold")

    def put_back(self, image):
        self.calls.append("put back")

    def done(self, image, why=""):
        self.calls.append(f"done: {why}" if why else "done")


class Pool:
    """Sandboxes that nothing runs in."""

    def take(self, name, image, environment, *, check, for_build):
        assert not for_build
        return nullcontext((None, SimpleNamespace(cut_off=lambda: None)))


class Log:
    def __init__(self):
        self.events = []

    def warning(self, event, **values):
        self.events.append(event)

    info = warning


@pytest.fixture
def made(monkeypatch):
    """``made(store, inspect=…, busy=…)`` is a reader whose inspector is a function."""

    def make(store, inspected=lambda: FACTS, busy=lambda: False, ended=lambda: False, clock=time.monotonic):
        monkeypatch.setattr(reader, "layers_of", lambda registry, image: store.layers)
        monkeypatch.setattr(reader, "inspect_layer", lambda *args, **options: inspected())
        nothing = SimpleNamespace(look=lambda: None)
        return FactsReader(Pool(), None, store, str, nothing, busy, ended, Log(), clock=clock)

    return make


def failing(error, times=99):
    left = [error] * times

    def inspected():
        if left:
            raise left.pop()
        return FACTS

    return inspected


def test_each_layer_of_an_image_is_read_while_it_is_held(made):
    store, now = Store(3), [0.0]

    def inspected():
        for _ in range(100):  # as often as a sandbox asks whether to go on
            now[0] += 2.0
            found._go_on()
        return FACTS

    found = made(store, inspected, clock=lambda: now[0])
    found.turn()
    assert set(store.found) == set(store.layers)
    assert store.calls == ["take LATER", *["hold"] * store.calls.count("hold"), "done"]
    assert 600 / HELD_SECONDS * 2 < store.calls.count("hold") < 20
    found._go_on()
    assert store.calls[-1] == "done", "it holds none now"


def test_an_image_that_can_never_be_read_is_done_with_a_reason(made, monkeypatch):
    store = Store()
    for error, why in (
        (NotInRegistryError("It is gone."), "the registry no longer has it"),
        (NotRebasableError("Another version wrote it.", advice="Upgrade."), "Another version wrote it"),
        (ValueError("not an image"), "not an image"),
    ):
        found = made(store)
        monkeypatch.setattr(reader, "layers_of", lambda registry, image, error=error: failing(error)())
        found.turn()
        assert store.calls[-1] == f"done: {why}"


def test_a_layer_that_another_node_has_read_meanwhile_is_left(made):
    store, reads = Store(2), []

    def inspected():
        reads.append(1)
        store.found |= dict.fromkeys(store.layers, FACTS)
        return FACTS

    made(store, inspected).turn()
    assert len(reads) == 1


def test_between_two_layers_builds_come_first(made):
    store = Store(3)
    made(store, busy=lambda: True).turn()
    assert (len(store.found), store.calls) == (1, ["take LATER", "put back"])


@pytest.mark.parametrize(("busy", "taken"), [(True, 1), (False, 3)])
def test_while_builds_run_it_rests_as_long_as_it_worked(made, busy, taken):
    now, store = [0.0], Store()

    def inspected():
        now[0] += 100
        return FACTS

    found = made(store, inspected, busy=lambda: busy, clock=lambda: now[0])
    for _ in range(3):
        now[0] += 1
        found.turn()
    assert store.calls.count("take LATER") == taken


def test_what_a_node_cannot_read_is_tried_again_twice_and_then_that_is_known(made):
    store = Store()
    found = made(store, failing(NotReadError("It takes too long.")))
    for tries in (1, 2):
        found.turn()
        assert (store.found, store.tries, "put back" in store.calls) == ({}, tries, False)
    found.turn()
    assert [one.unknown for one in store.found.values()] == ["It takes too long"]
    assert store.calls[-1] == "done"


def test_a_layer_that_the_registry_lost_is_known_as_such(made):
    store = Store()
    made(store, failing(NotInRegistryError("gone"))).turn()
    assert [one.unknown for one in store.found.values()] == ["the registry no longer has a layer"]


def test_a_failing_registry_puts_an_image_off(made):
    store = Store()
    with pytest.raises(RegistryError):
        made(store, failing(RegistryError("down"))).turn()
    assert (store.found, store.calls[-1]) == ({}, "put off")


def test_a_node_without_an_engine_leaves_images_to_others(made):
    store, now = Store(), [0.0]
    found = made(store, failing(NodeError("no engine"), 1), clock=lambda: now[0])
    with pytest.raises(NodeError):
        found.turn()
    found.turn()
    assert store.calls == ["take LATER", "put off"], "it is not the first that each node takes"
    now[0] = 100.0
    found.turn()
    assert store.calls[-1] == "done"


def test_only_failures_to_read_a_layer_count_against_it(made):
    store = Store()
    found = made(store, failing(RegistryError("down"), 5))
    for _ in range(5):
        with pytest.raises(RegistryError):
            found.turn()
    assert (store.tries, store.found) == (0, {})


@pytest.mark.parametrize(
    ("room", "taken", "why"),
    [(Urgency.APP, ["take APP"], False), (None, [], True), (Urgency.LATER, ["take LATER"], False)],
)
def test_when_redis_is_full_what_waits_is_read_longest_and_it_is_said_once(made, room, taken, why):
    store, seen = Store(room=room), []
    found = made(store)
    found.stopped = seen.append
    found.turn()
    assert store.calls[:1] == taken
    assert bool(store.why) is why
    assert seen == [room is not Urgency.LATER]
    found.turn()
    assert found.log.events.count("layers_not_read") == seen[0]


def test_a_node_that_ends_reads_nothing(made):
    store = Store()
    made(store, ended=lambda: True).turn()
    assert store.calls == []


class Noted:
    """What is noted of images."""

    def __init__(self):
        self.calls, self.wanted = [], []

    def note(self, image, layers):
        self.calls.append(f"note {image}")

    def unreadable(self, image):
        self.calls.append(f"unreadable {image}")

    def begin(self):
        self.calls.append("begin")

    def end(self, names):
        self.calls.append(f"end {' '.join(sorted(names))}")

    def asked(self):
        wanted, self.wanted = self.wanted, []
        return wanted


@pytest.fixture
def looks(monkeypatch):
    """Images are looked at; the calls of each look. Apps named "gone" are not in the registry."""

    def layers_of(registry, image):
        if image.startswith("apps/t/gone"):
            raise NotInRegistryError("gone")
        return {}

    names, bases, noted = {"apps/t/a": "1", "apps/t/gone": "1"}, ["b@1"], Noted()
    monkeypatch.setattr(newest, "layers_of", layers_of)
    monkeypatch.setattr(newest, "tag_targets", lambda database: names)
    store = SimpleNamespace(database=None, lacking=lambda layers: [], wanted=None)
    found = NewestImages(None, store, lambda: bases, lambda: True, noted)

    def look():
        noted.calls.clear()
        found._look_at = 0.0
        found.look()
        return list(noted.calls)

    return look, noted, bases, found


ALL = ["note b@1", "note apps/t/a@1", "unreadable apps/t/gone@1"]


def test_an_image_that_is_gone_is_noted_as_unreadable_and_only_those_that_are_asked_for_are_looked_at_again(looks):
    look, noted, _, _ = looks
    assert look() == ["begin", *ALL]
    look()
    assert look() == []
    noted.wanted = ["b@1", "apps/t/unknown"]
    assert look() == ["note b@1"]
    assert look() == []


def test_rows_of_what_is_gone_are_dropped_once_a_day_when_all_is_noted_again(looks):
    look, _, bases, found = looks
    look()
    bases.append("b@2")  # on which an app that was just noted stands
    assert look() == ["note b@2"]
    assert look() == ["end apps/t/a apps/t/gone b@1 b@2"]
    assert look() == []
    bases.remove("b@1")
    found._seen_since -= newest._AGAIN_SECONDS + 1
    assert look() == ["begin", "note b@2", *ALL[1:]]
    assert look() == ["end apps/t/a apps/t/gone b@2"]


def test_apps_that_are_built_all_the_time_and_images_that_cannot_be_read_keep_nothing_that_is_gone(looks, monkeypatch):
    look, noted, _, _ = looks
    names = newest.tag_targets(None)
    names["apps/t/bad"] = "1"
    known = newest.layers_of

    def layers_of(registry, image):
        if image.startswith("apps/t/bad"):
            raise RegistryError("damaged")
        return known(registry, image)

    monkeypatch.setattr(newest, "layers_of", layers_of)
    for digest in "23":
        names["apps/t/a"] = digest
        with pytest.raises(RegistryError):
            look()
    assert "end apps/t/a apps/t/bad apps/t/gone b@1" in noted.calls


def test_images_that_the_registry_fails_for_keep_no_others_from_being_looked_at(monkeypatch):
    looked, store = [], SimpleNamespace(database=None, lacking=lambda layers: [], wanted=None)

    def layers_of(registry, image):
        looked.append(image)
        if image.startswith(("b@", "apps/t/bad")):
            raise RegistryError("damaged")
        return {}

    names = {f"apps/t/bad{number}": "x" for number in range(8)} | {f"apps/t/a{number}": "x" for number in range(5)}
    monkeypatch.setattr(newest, "layers_of", layers_of)
    monkeypatch.setattr(newest, "tag_targets", lambda database: names)
    found = NewestImages(None, store, lambda: ["b@1"], lambda: True, Noted(), _look_at=0.0)
    for _ in range(3):
        found._look_at = 0.0
        with pytest.raises(RegistryError):
            found.look()
    assert {one for one in looked if one.startswith("apps/t/a")} == {f"apps/t/a{number}@x" for number in range(5)}
    assert found._seen.keys() == {f"apps/t/a{number}" for number in range(5)}
