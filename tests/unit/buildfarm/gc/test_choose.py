"""What may go from a registry, as a table, and its removal from files."""

from __future__ import annotations

import hashlib
import json

import pytest

from buildfarm.gc.choose import Rules, choose, collect
from buildfarm.gc.storage import Storage, Stored

NOW = 1_000_000.0
RULES = Rules(images=2, source_seconds=100, cache_seconds=200, grace_seconds=10)


def stored(repository, name, age, *tags, names=()):
    digest = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    return Stored(repository, digest, NOW - age, frozenset(tags), frozenset({digest, *names}))


@pytest.mark.parametrize(
    ("item", "used", "goes"),
    [
        (stored("apps/a", "old", 50), False, True),
        (stored("apps/a", "old", 50), True, False),
        (stored("apps/a", "old", 50, "v1"), False, False),
        (stored("apps/a", "young", 5), False, False),
        (stored("sources/t", "old", 101), False, True),
        (stored("sources/t", "old", 99), False, False),
        (stored("sources/t", "old", 101), True, False),
        (stored("caches/t/a", "newest", 199, "cache"), False, False),
        (stored("caches/t/a", "forgotten", 201, "cache"), False, True),
        (stored("caches/t/a", "replaced", 50), False, True),
        (stored("tools/go", "in use", 10_000, "1.24.11"), False, False),
        (stored("tools/go", "replaced", 50), False, True),
    ],
)
def test_what_may_go(item, used, goes):
    newer = [stored(item.repository, f"newer{number}", 1) for number in range(2)]
    going = choose([item, *newer], {item.digest} if used else set(), RULES, NOW)
    assert going == ([item] if goes else [])


def test_what_an_index_names_stays_with_it():
    part = stored("apps/a", "part", 500)
    index = stored("apps/a", "index", 500, "latest", names=(part.digest,))
    newer = [stored("apps/a", f"newer{number}", 1) for number in range(2)]
    assert choose([part, index, *newer], set(), RULES, NOW) == []


class Disk:
    """A registry's files, written as the registry writes them."""

    def __init__(self, root):
        self.top = root / "docker/registry/v2"

    def blob(self, content):
        name = hashlib.sha256(content).hexdigest()
        path = self.top / "blobs/sha256" / name[:2] / name
        path.mkdir(parents=True)
        (path / "data").write_bytes(content)
        return f"sha256:{name}"

    def manifest(self, repository, layers, tag=None):
        digest = self.blob(json.dumps({"layers": [{"digest": layer} for layer in layers]}).encode())
        folder = self.top / "repositories" / repository / "_manifests"
        link = folder / "revisions/sha256" / digest.removeprefix("sha256:") / "link"
        link.parent.mkdir(parents=True)
        link.write_text(digest)
        if tag:
            current = folder / "tags" / tag / "current/link"
            current.parent.mkdir(parents=True, exist_ok=True)
            current.write_text(digest)
        return digest


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


EAGER = Rules(images=1, grace_seconds=0, settle_seconds=0)


def test_a_layer_that_no_manifest_names_goes_and_its_bytes_are_told(disk, tmp_path):
    lonely, used = disk.blob(b"lonely"), disk.blob(b"used")
    disk.manifest("apps/a", [used], tag="latest")
    dry = collect(Storage(tmp_path), (), EAGER, really=False)
    done = collect(Storage(tmp_path), (), EAGER, really=True)
    assert (dry.freed_bytes, done.freed_bytes, done.blobs) == (6, 6, 1)
    left = {digest for digest, _, _ in Storage(tmp_path).blobs()}
    assert used in left
    assert lonely not in left


def test_a_layer_that_is_named_meanwhile_is_put_back(disk, tmp_path, monkeypatch):
    layer = disk.blob(b"layer")
    aside = Storage.set_aside

    def push_meanwhile(self, digests):
        disk.manifest("apps/late", [layer], tag="latest")
        return aside(self, digests)

    monkeypatch.setattr(Storage, "set_aside", push_meanwhile)
    done = collect(Storage(tmp_path), (), EAGER, really=True)
    assert (done.blobs, done.put_back) == (0, 1)
    assert layer in {digest for digest, _, _ in Storage(tmp_path).blobs()}


@pytest.mark.parametrize(
    "is_named", [True, False], ids=["and its manifest is there", "and its manifest is still to come"]
)
def test_a_layer_that_is_sent_anew_meanwhile_stays_in_its_repository(disk, tmp_path, monkeypatch, is_named):
    layer = disk.blob(b"layer")
    link = disk.top / "repositories/apps/late/_layers/sha256" / layer.removeprefix("sha256:") / "link"
    link.parent.mkdir(parents=True)
    link.write_text(layer)
    aside = Storage.set_aside

    def push_afterwards(self, digests):
        done = aside(self, digests)
        disk.blob(b"layer")
        if is_named:
            disk.manifest("apps/late", [layer], tag="latest")
        return done

    monkeypatch.setattr(Storage, "set_aside", push_afterwards)
    collect(Storage(tmp_path), (), EAGER, really=True)
    assert link.exists()
    assert layer in {digest for digest, _, _ in Storage(tmp_path).blobs()}


def test_blobs_that_are_young_stay(disk, tmp_path):
    disk.blob(b"of a build that runs")
    assert collect(Storage(tmp_path), (), Rules(), really=True).blobs == 0
