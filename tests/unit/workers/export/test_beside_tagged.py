"""What the tagged image of an app names need not be asked for; where that turns out wrong, everything is."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from dataclasses import replace

import pytest

from buildfarm.errors import StoreError
from buildfarm.model import BuildRequest
from buildfarm.oci.connection import MissingBlobError
from buildfarm.sources.address import ArtifactSource
from testkit.builds import wait_for
from testkit.registry.builder import push_builder
from workers.build_folder import BuildFolder
from workers.export.exporter import Exporter, unannounced
from workers.export.fingerprint import Recent

SOURCE = ArtifactSource(repository="sources/t", digest="sha256:" + "a" * 64)
REQUEST = BuildRequest(tenant="t", app="app", source=SOURCE)
REPOSITORY, TAG = REQUEST.repository, REQUEST.tag


class Known(dict):
    """Layers by their shape, of all nodes."""

    put = dict.__setitem__


@pytest.fixture
def app(tmp_path):
    """An app with dependencies, which are a separate layer, and code."""
    root = tmp_path / "app"
    (root / "deps").mkdir(parents=True)
    (root / "deps/lib").write_bytes(os.urandom(200_000))
    (root / "code.py").write_text("0")
    return root


@pytest.fixture
def deploy(registry, fake, app):
    """``deploy(code)`` exports the app with this code and moves the tag; returns the requests that this took."""
    builder = push_builder(registry)
    shared = Exporter(registry, "gzip", 2, "docker", 10**8, 10**5, 8, Known(), Recent())

    def run(code, before_image=lambda: None, announce=unannounced):
        (app / "code.py").write_text(code)
        exporter = replace(shared.during(lambda: None), announce=announce)

        def labels(_):
            before_image()
            return {}

        del fake.log[:]
        exported = exporter.export(
            BuildFolder(app), builder, REQUEST,
            source_names={"app/code.py"}, process_types={"web": "x"}, variables={}, labels=labels,
        )  # fmt: skip
        digests = [exported.image.digest]
        exporter.registry.move_tag(REPOSITORY, TAG, lambda: digests[-1], exporter.sent)
        return exported, list(fake.log)

    return run


def verbs(requests):
    return Counter(line.split()[0] for line in requests)


def test_a_redeploy_sends_what_is_new_and_asks_for_one_manifest(deploy, fake):
    _, first = deploy("1")
    exported, requests = deploy("2")
    assert not any(line.startswith("HEAD") for line in requests)
    # The tag; then a session and its end for the code's layer, the config and the release's document; the manifests of
    # image and release, and the tag again.
    assert verbs(requests) == {"GET": 1, "POST": 3, "PUT": 6}
    assert verbs(first)["POST"] == 2 + 4  # the builder's layers, and four blobs
    assert [layer.reused for layer in exported.layers if layer.origin != "builder"] == [True, False]


def test_an_export_is_announced_and_goes_on_without_redis(deploy):
    announced = []

    def announce(repository):
        announced.append(repository)
        raise StoreError("Redis is unreachable.")

    exported, _ = deploy("1", announce=announce)
    assert exported.image.digest
    wait_for(lambda: announced == [REPOSITORY], 5)


def test_no_export_waits_for_its_announcement(deploy):
    answered, ended = threading.Event(), []

    def announce(_):
        answered.wait(10)
        ended.append(True)

    exported, _ = deploy("1", announce=announce)
    waited = list(ended)
    answered.set()
    assert (waited, exported.image.digest != "") == ([], True)


def test_an_unchanged_app_sends_only_manifests(deploy):
    deploy("1")
    _, requests = deploy("1")
    # The registry does not look after what an annotation names, so the release's is sent too.
    assert verbs(requests) == {"GET": 1, "PUT": 3}


def test_a_release_that_is_gone_is_sent_again(deploy, fake):
    deploy("1")
    manifests = fake.repository(REPOSITORY).manifests
    [release] = [name for name, (_, content) in manifests.items() if b"buildfarm.release.v1" in content]
    del manifests[release]
    deploy("1")
    assert release in manifests


def test_a_release_s_document_that_is_gone_is_sent_again(deploy, fake):
    deploy("1")
    repository = fake.repository(REPOSITORY)
    [manifest] = [content for _, content in repository.manifests.values() if b"buildfarm.release.v1" in content]
    document = json.loads(manifest)["config"]["digest"]
    del repository.blobs[document]
    deploy("1")
    assert document in repository.blobs


@pytest.mark.parametrize("lost", ["a layer of the builder", "a layer of the app", "all"])
def test_what_is_gone_though_the_tagged_image_names_it_is_sent_in_the_same_attempt(deploy, fake, lost):
    exported, _ = deploy("1")
    blobs = fake.repository(REPOSITORY).blobs
    named = {layer.origin: layer.digest for layer in exported.layers}
    gone = {"a layer of the builder": [named["builder"]], "a layer of the app": [named["deps"]], "all": list(blobs)}
    for digest in gone[lost]:
        del blobs[digest]
    exported, requests = deploy("2")
    assert requests.count(f"PUT /v2/{REPOSITORY}/manifests/{exported.image.digest}") == 2
    assert {layer.digest for layer in exported.layers} <= set(blobs)


def test_an_image_that_the_registry_never_takes_ends_the_attempt(deploy, fake):
    deploy("1")
    with pytest.raises(MissingBlobError):
        deploy("2", fake.repository(REPOSITORY).blobs.clear)


@pytest.mark.parametrize("content", [b"{}", b'{"config":{"digest":""},"layers":[]}'], ids=["empty", "no image"])
def test_a_tag_that_names_no_image_of_ours_is_as_good_as_none(deploy, fake, content):
    deploy("1")
    fake.repository(REPOSITORY).manifests[TAG] = ("application/vnd.oci.image.index.v1+json", content)
    _, requests = deploy("2")
    assert verbs(requests)["POST"] == 2 + 3
