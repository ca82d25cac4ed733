"""Layers are read apart from builds, and what the sandbox answers is bounded and not trusted."""

from __future__ import annotations

import gzip
import subprocess
import sys
from types import SimpleNamespace

import pytest

from buildfarm.errors import NodeError, OutOfMemoryError
from buildfarm.oci.digest import Digest
from buildfarm.releases.facts.layer import BASE_PACKED_BYTES_MAX, LayerFacts
from buildfarm.releases.facts.store import Unread
from testkit.registry.builder import archive_of
from workers.caches.facts import inspect
from workers.caches.facts.inspect import inspect_layer
from workers.caches.facts.reader import FactsReader

CONTENT = archive_of({"app/x": "1"})
PACKED = gzip.compress(CONTENT)
LAYER = Unread(str(Digest.of(PACKED)), len(PACKED), str(Digest.of(CONTENT)))
FACTS = LayerFacts(needs={"path:/bin/sh": ("app/x", 1)})
IN_A_BUILD = (
    "import sys, workers.pipeline; print(*(name for name in sys.modules if 'facts' in name or 'elftools' in name))"
)


class Sandbox:
    """Takes all of its input, writes ``output`` in pieces, and ends with ``code``."""

    def __init__(self, output=None, code=0, fails=None):
        output = FACTS.encode() if output is None else output
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
    assert read(Sandbox()) == FACTS


@pytest.mark.parametrize(
    ("sandbox", "why"),
    [
        (Sandbox(code=137), "the inspector ended with 137"),
        (Sandbox(b""), "the facts are damaged"),
        (Sandbox(bytes(BASE_PACKED_BYTES_MAX + 1)), "the inspector has written too much"),
        (Sandbox(bytes(40_000)), "bytes of facts"),
        (Sandbox(fails=OutOfMemoryError("It needed more memory.")), "It needed more memory."),
    ],
)
def test_a_layer_that_cannot_be_read_has_facts_that_say_why(sandbox, why):
    found = read(sandbox)
    assert (found.needs, found.brings, why in found.unknown) == ({}, {}, True)


def test_other_content_than_the_diff_ids_gives_no_facts():
    other = Unread(LAYER.digest, LAYER.size_bytes, str(Digest.of(b"other")))
    assert read(Sandbox(), other).unknown == "its content is not that of its diff ID"


def test_reading_has_a_deadline(monkeypatch):
    monkeypatch.setattr(inspect, "LAYER_SECONDS", -1.0)
    assert read(Sandbox()).unknown == "to read it takes too long"


def test_a_failing_engine_is_no_fact():
    with pytest.raises(NodeError):
        read(Sandbox(fails=NodeError("The engine is unreachable.")))


class Store:
    """One image that is wanted again and again."""

    def __init__(self):
        self.taken = 0

    def has_room(self):
        return True

    def take(self):
        self.taken += 1
        return "apps/t/a@x", []

    def lacking(self, layers):
        return []

    def done(self, image):
        """Nothing."""


@pytest.mark.parametrize(("busy", "taken"), [(True, 1), (False, 3)])
def test_while_builds_run_it_rests_as_long_as_it_worked(busy, taken):
    now, store = [0.0], Store()

    def clock():
        now[0] += 1
        return now[0]

    log, has_not = SimpleNamespace(), lambda: False
    reader = FactsReader(None, None, store, str, list, has_not, lambda: busy, has_not, log, clock=clock, _look_at=1e9)
    reader.store.done = lambda image: now.__setitem__(0, now[0] + 100)
    for _ in range(3):
        reader.turn()
    assert store.taken == taken


def test_a_node_that_ends_reads_nothing():
    store, has_not = Store(), lambda: False
    FactsReader(None, None, store, str, list, has_not, has_not, lambda: True, SimpleNamespace()).turn()
    assert store.taken == 0
