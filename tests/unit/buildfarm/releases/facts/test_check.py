"""What is said of an app whose layers, or whose bases, have no facts: whether waiting helps."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest
from buildfarm.releases.base import Base
from buildfarm.releases.facts.check import FactsCheck
from buildfarm.releases.facts.layer import LayerFacts
from buildfarm.releases.facts.wanted import Urgency

APP, OLD, NEW = (Digest.of(name) for name in (b"app", b"old", b"new"))
READ = LayerFacts(files=("a",))
RELEASE = SimpleNamespace(layers=(SimpleNamespace(diff_id=APP, blob=Descriptor("layer", APP, 1)),))


class Store:
    """Facts by diff ID, and reasons why images cannot be read by their name."""

    def __init__(self, known, refused=()):
        self.known, self.asked = known, []
        self.wanted, self.progress = self, SimpleNamespace(why_stopped=lambda: "")
        self.refused = lambda image: dict(refused).get(image, "")

    def get(self, diff_ids, *, of_base=False):
        return {one: self.known[one] for one in diff_ids if one in self.known}

    def add(self, image, urgency):
        self.asked.append((image, urgency))


def base(name, diff_id):
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]}}
    manifest = Manifest("manifest", Descriptor("config", diff_id, 1), (Descriptor("layer", diff_id, 1),))
    return Base(name, diff_id, manifest, json.dumps(config).encode())


def look(known, refused=()):
    store = Store(known, refused)
    return FactsCheck(store).look("apps/t/a@x", RELEASE, base("b", OLD), base("b", NEW)), store.asked


@pytest.mark.parametrize(
    ("known", "why", "asked"),
    [
        ({OLD: READ, NEW: READ}, "its files have not been read yet", ("apps/t/a@x", Urgency.APP)),
        ({APP: READ, NEW: READ}, "the files of a base have not been read yet", (f"b@{OLD}", Urgency.BASE)),
    ],
)
def test_an_app_waits_for_what_a_node_is_to_read(known, why, asked):
    verdict, wanted = look(known)
    assert (verdict.missing, verdict.pending, wanted) == (why, True, [asked])


@pytest.mark.parametrize("of", [OLD, NEW])
def test_a_base_that_was_read_without_success_is_not_waited_for(of):
    verdict, _ = look({APP: READ, OLD: READ, NEW: READ} | {of: LayerFacts(unknown="the inspector ended with 1")})
    assert (verdict.missing, verdict.pending) == (
        "the files of a base could not be read: the inspector ended with 1", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "refused", "why"),
    [
        ({OLD: READ, NEW: READ}, "apps/t/a@x", "its files cannot be read: it is gone"),
        ({APP: READ, OLD: READ}, f"b@{NEW}", "the files of a base could not be read: it is gone"),
    ],
)
def test_an_image_that_nodes_cannot_read_at_all_is_not_waited_for(known, refused, why):
    verdict, asked = look(known, [(refused, "it is gone")])
    assert (verdict.missing, verdict.pending, asked) == (why, False, [])
