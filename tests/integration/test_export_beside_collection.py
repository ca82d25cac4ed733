"""Exports that rely on the tagged image of their app, while the tag moves and a collection takes what it named."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from buildfarm.gc.choose import Rules
from buildfarm.gc.collect import collect
from buildfarm.gc.storage import Storage
from buildfarm.model import BuildRequest
from buildfarm.oci.manifest import Manifest
from buildfarm.releases.shelf import read_release
from buildfarm.sources.address import ArtifactSource
from testkit.builds import repeats
from testkit.registry.builder import push_builder
from testkit.registry.own import registry_on, storage_folder
from workers.build_folder import BuildFolder
from workers.export.exporter import Exporter
from workers.export.fingerprint import Recent

RACES_MAX = 100
RACES = repeats(30, RACES_MAX)  # and as many more as it takes until a collection comes in between
SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="t", app="app", source=SOURCE)
REPOSITORY, TAG = REQUEST.repository, REQUEST.tag
RULES = Rules(images=0, grace_seconds=60)
SETTLE_SECONDS = 0.25


@pytest.fixture
def served(services):
    """A registry, and the folder of its files."""
    with storage_folder() as folder, registry_on(folder, services.docker_url) as registry:
        yield registry, folder


class Known(dict):
    """Layers by their shape."""

    put = dict.__setitem__


class Node:
    """Exports an app whose dependencies stay and whose code changes."""

    def __init__(self, registry, root):
        self.registry, self.root, self.builder = registry, root, push_builder(registry)
        self.exporter = Exporter(registry, "gzip", 2, "docker", 10**8, 10**5, 8, Known(), Recent())
        (root / "deps").mkdir(parents=True)
        (root / "deps/lib").write_bytes(os.urandom(200_000))

    def deploy(self, code):
        (self.root / "code.py").write_text(code)
        exporter, tries = self.exporter.during(lambda: None), []

        def labels(_):
            tries.append(code)
            return {}

        exported = exporter.export(
            BuildFolder(self.root), self.builder, REQUEST,
            source_names={"app/code.py"}, process_types={"web": "x"}, variables={}, labels=labels,
        )  # fmt: skip
        return exported.image.digest, len(tries)


def another_image(registry, builder):
    """Takes the tag over: another build of the app, which shares nothing with it."""
    blob = registry.put_blob(REPOSITORY, os.urandom(100))
    layer = builder.manifest.layers[0]
    manifest = Manifest(
        builder.manifest.media_type, builder.manifest.config, (type(layer)(layer.media_type, blob, 100),)
    )
    registry.put_blob(REPOSITORY, builder.config)
    registry.put_manifest(REPOSITORY, manifest.encode(), manifest.media_type, tag=TAG)


def age(root):
    """All files are from an hour ago, so that no grace protects them."""
    then = time.time() - 3600
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):  # of an upload that has just ended
                os.utime(Path(folder) / name, (then, then))


def test_an_export_that_races_with_a_collection_is_whole(served, tmp_path, record_property):
    chance = random.Random(22)
    registry, root = served
    node = Node(registry, tmp_path / "app")
    again = number = 0
    while number < RACES or (not again and number < RACES_MAX):
        first, _ = node.deploy(f"{number}")
        registry.move_tag(REPOSITORY, TAG, lambda digest=first: digest)
        age(root)
        wait_seconds = chance.uniform(0, 0.04)

        def collected(seconds=wait_seconds):
            time.sleep(seconds)  # so that collections meet every moment of an export
            another_image(registry, node.builder)
            collect(Storage(root), (), RULES, really=True, settle_seconds=SETTLE_SECONDS)

        collection = threading.Thread(target=collected)
        collection.start()
        digest, tries = node.deploy(f"{number} again")
        collection.join()
        again += tries - 1
        number += 1
        manifest, _ = registry.read_manifest(REPOSITORY, digest)
        for blob in (manifest.config, *manifest.layers):
            assert len(registry.read_blob(REPOSITORY, blob.digest)) == blob.size
        assert [layer.blob for layer in read_release(registry, REPOSITORY, manifest).layers] == [*manifest.layers[2:]]
    record_property("seen", f"{again} of {number} exports were sent again")
    assert again > 0, "the collection never came in between"


def test_a_collection_before_an_export_takes_nothing_that_the_tag_names(served, tmp_path):
    registry, root = served
    node = Node(registry, tmp_path / "app")
    first, _ = node.deploy("1")
    registry.move_tag(REPOSITORY, TAG, lambda: first)
    age(root)
    collect(Storage(root), (), RULES, really=True, settle_seconds=SETTLE_SECONDS)
    assert node.deploy("2")[1] == 1
