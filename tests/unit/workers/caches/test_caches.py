"""Deadlines and drains end the transfers of caches and buildpacks, over a real socket to a registry that can stall."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buildfarm.buildpacks.address import ArtifactBuildpack
from buildfarm.errors import NodeError, NodeStopped
from buildfarm.model import BuildRequest
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.manifest import Descriptor, media_types
from buildfarm.oci.registry import Registry
from buildfarm.sources.address import ArtifactSource
from buildfarm.telemetry import logger
from workers.build_folder import BuildFolder
from workers.buildpacks.buildpack_cache import BuildpackCache
from workers.buildpacks.fetcher import BuildpackFetcher
from workers.buildpacks.steps import Steps
from workers.caches import Caches, Copies, Snapshots
from workers.sandbox.container import Ended
from workers.sandbox.pool import SandboxPool
from workers.sandbox.tools.store import ToolStore
from workers.sandbox.workspace import Workspaces

BYTES = 3 * 1024 * 1024
REQUEST = BuildRequest(
    tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest=Digest("sha256:" + "0" * 64))
)


# A node that makes none
NONE = Snapshots(SandboxPool(Workspaces(Path("/nowhere"), 0, 0), None, 0), Path("/nowhere"), 0, lambda: "", logger())


@dataclass
class Box:
    """A sandbox that takes whatever is sent into it."""

    received: int = 0
    said: list = field(default_factory=list)

    def run(self, command, *, stdin=(), capture=False):
        for piece in stdin:
            self.received += len(piece)
        return Ended(0)

    def log(self, piece):
        self.said.append(piece)


@dataclass
class Cached:
    """A workspace with this cache, and what its check finds."""

    cache: BuildFolder
    lost: str = ""

    def check_written(self):
        if self.lost:
            raise NodeError(self.lost)


class Drain:
    """The check of an attempt that is stopped at its ``count``-th call."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        self.left -= 1
        if self.left <= 0:
            raise NodeStopped("The node was stopped.")


@pytest.fixture
def registry(fake):
    with Registry(f"http://{fake.host}", timeout_seconds=5) as registry:
        yield registry


def caches(registry, folder):
    return Caches(registry, Copies(folder / "copies", 10 * BYTES), NONE, 10 * BYTES, 1, logger())


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "kept").write_bytes(os.urandom(BYTES))
    return Cached(BuildFolder(folder))


def test_a_cache_is_saved_and_restored(fake, registry, cache, tmp_path):
    ours, box = caches(registry, tmp_path).during(lambda: None), Box()
    ours.save(REQUEST, "stack", ["python"], cache, None)
    restored = ours.restore(REQUEST, "stack", None, box)
    assert restored.buildpacks == "python"
    assert box.received > BYTES


def test_a_clean_build_begins_without_the_cache_and_keeps_its_own(fake, registry, cache, tmp_path):
    ours, box, clean = caches(registry, tmp_path), Box(), REQUEST.model_copy(update={"clean": True})
    ours.save(REQUEST, "stack", ["python"], cache, None)
    assert ours.restore(clean, "stack", None, box) is None
    assert (box.received, box.said) == (0, [b"-----> Clean build: no cache is restored\n"])
    ours.save(clean, "stack", ["nodejs"], cache, None)
    assert ours.restore(REQUEST, "stack", None, box).buildpacks == "nodejs"


def test_a_cache_that_the_nodes_disk_did_not_take_is_not_saved(fake, registry, cache, tmp_path):
    cache.lost = "The node's disk did not take all of a workspace."
    caches(registry, tmp_path).save(REQUEST, "stack", ["python"], cache, None)
    assert fake.repository("caches/t/a").manifests == {}


def test_a_drain_ends_the_upload_of_a_cache_and_not_the_build(fake, registry, cache, tmp_path):
    caches(registry, tmp_path).during(Drain(2)).save(REQUEST, "stack", ["python"], cache, None)
    assert fake.repository("caches/t/a").manifests == {}


def test_the_next_build_waits_for_a_cache_that_is_being_saved(registry, cache, tmp_path):
    ours, found = caches(registry, tmp_path), []
    with ours.saving(REQUEST):
        next_build = threading.Thread(target=lambda: found.append(ours.restore(REQUEST, "stack", None, Box())))
        next_build.start()
        next_build.join(0.1)
        assert next_build.is_alive()
        ours.save(REQUEST, "stack", ["python"], cache, None)
    next_build.join(10)
    assert found[0].buildpacks == "python"


def test_a_drain_ends_the_wait_for_a_cache(registry, tmp_path):
    ours = caches(registry, tmp_path)
    with ours.saving(REQUEST), pytest.raises(NodeStopped):
        ours.during(Drain(1)).restore(REQUEST, "stack", None, Box())


def test_a_drain_ends_the_comparison_with_what_was_restored(registry, cache, tmp_path):
    ours = caches(registry, tmp_path)
    ours.save(REQUEST, "stack", ["python"], cache, None)
    restored = ours.restore(REQUEST, "stack", None, Box())
    drain = Drain(1)
    ours.during(drain).save(REQUEST, "stack", ["python"], cache, restored)
    assert drain.left == 0


def test_a_drain_ends_the_download_of_a_cache_and_the_build(registry, cache, tmp_path):
    caches(registry, tmp_path).save(REQUEST, "stack", ["python"], cache, None)
    with pytest.raises(NodeStopped):
        caches(registry, tmp_path / "other").during(Drain(2)).restore(REQUEST, "stack", None, Box())


def test_a_drain_ends_the_wait_for_a_registry_that_is_away(cache, tmp_path):
    silent = socket.socket()  # bound, so that nothing else can listen there
    silent.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    started = time.monotonic()
    with silent, Registry(url, patience_seconds=600) as registry:
        caches(registry, tmp_path).during(Drain(2)).save(REQUEST, "stack", ["python"], cache, None)
        with pytest.raises(NodeStopped):
            caches(registry, tmp_path).during(Drain(2)).restore(REQUEST, "stack", None, Box())
    assert time.monotonic() - started < 30


def test_a_drain_ends_the_download_of_a_buildpack(registry, tmp_path):
    content = os.urandom(BYTES)
    blob = Descriptor(media_types("oci").layers["gzip"], registry.put_blob("buildpacks/x", content), len(content))
    registry.put_blob("buildpacks/x", EMPTY_CONFIG)
    manifest = artifact("application/x", [blob], annotations={})
    registry.put_manifest("buildpacks/x", manifest, media_types("oci").manifest, tag="1")
    fetcher = BuildpackFetcher(
        registry, BuildpackCache(tmp_path, 10 * BYTES), ToolStore(registry, tmp_path, 0, 0)
    ).during(Drain(2))
    with pytest.raises(NodeStopped):
        fetcher.fetch([ArtifactBuildpack("buildpacks/x", "1")], "t", Steps(Box()))
