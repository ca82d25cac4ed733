"""The registry client and the image format against a real registry."""

from __future__ import annotations

import os
import uuid

import pytest

from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, AddedLayer, RuntimeConfig, artifact, compose
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import Entry, header_entries, tar_command, tree_names
from testkit.registry.own import registry_on, storage_folder
from testkit.registry.validate import validate


@pytest.fixture
def registry(registry_url):
    with Registry(registry_url, timeout_seconds=30) as registry:
        yield registry


@pytest.fixture
def repository():
    """A separate repository for each test: nothing is left of earlier runs."""
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "app"
    (root / "lib").mkdir(parents=True)
    (root / "main.py").write_text("print(1)\n")
    (root / "lib" / "data").write_bytes(os.urandom(5_000_000))
    return root


def upload(registry, repository, tree, **options):
    return registry.upload(
        repository,
        lambda: LayerStream(
            tar_command(tree, owner=1000, names=True),
            names=tree_names(tree),
            prefix=header_entries([Entry("etc/farm", b"1\n")]),
            **options,
        ),
    )


def push_base(registry, repository):
    """The smallest base: an image of one empty folder."""
    raw = header_entries([Entry("srv")]) + bytes(1024)
    types = media_types("docker")
    config = canonical_json(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest.of(raw)]}}
    )
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(repository, config), len(config)),
        (Descriptor(types.layers["none"], registry.put_blob(repository, raw), len(raw)),),
    )
    registry.put_manifest(repository, manifest.encode(), manifest.media_type, tag="base")
    return manifest, config


def test_the_registry_answers(registry):
    registry.ping()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_an_image_is_pushed_and_valid(registry, repository, tree, kind, compression):
    base_repository = f"{repository}-base"
    base, base_config = push_base(registry, base_repository)

    assert all(registry.mount(repository, layer.digest, base_repository) for layer in base.layers)
    layer = upload(registry, repository, tree, compression=compression)
    image = compose(
        base,
        base_config,
        [AddedLayer(layer, "app")],
        changes=RuntimeConfig(entrypoint=("/app/run",)),
        kind=kind,
        compression=compression,
    )
    registry.put_blob(repository, image.config)
    digest = registry.put_manifest(repository, image.manifest, image.media_type, tag="v1")

    assert digest == image.digest
    assert registry.get_manifest(repository, "v1") == (image.media_type, image.manifest, digest)
    validate(registry, repository, digest, app_layers=1, owners=(0, 1000))


def test_the_same_tree_is_the_same_blob(registry, repository, tree):
    first = upload(registry, repository, tree)

    assert registry.has_blob(repository, first.digest)
    assert upload(registry, repository, tree) == first


def test_a_blob_comes_back(registry, repository):
    digest = registry.put_blob(repository, b"content")

    assert registry.read_blob(repository, digest) == b"content"
    assert registry.put_blob(repository, b"content") == digest


def test_what_is_not_there_is_told_apart(registry, repository):
    gone = Digest.of(repository.encode())

    assert not registry.has_blob(repository, gone)
    assert not registry.has_manifest(repository, "gone")
    assert not registry.mount(repository, gone, f"{repository}-base")
    with pytest.raises(NotInRegistryError):
        registry.get_manifest(repository, gone)
    with pytest.raises(NotInRegistryError):
        registry.read_blob(repository, gone)


def test_an_artifact_is_kept_by_its_tag(registry, repository):
    """distribution 2.8 knows no artifacts, and takes them as OCI images whose config has another type."""
    registry.put_blob(repository, EMPTY_CONFIG)
    blob = Descriptor("application/vnd.buildfarm.cache.v1.tar+zstd", registry.put_blob(repository, b"cache"), 5)
    content = artifact("application/vnd.buildfarm.cache.v1", [blob], annotations={"key": "1"})

    digest = registry.put_manifest(repository, content, media_types("oci").manifest, tag="cache")

    media_type, kept, found = registry.get_manifest(repository, "cache")
    assert (kept, found) == (content, digest)
    assert Manifest.parse(kept, media_type).layers == (blob,)


def test_a_deleted_manifest_is_gone(registry, repository):
    """Needs ``storage.delete.enabled`` in the registry's configuration, as the farm does."""
    _, config = push_base(registry, repository)
    _, _, digest = registry.get_manifest(repository, "base")

    registry.delete_manifest(repository, digest)

    assert not registry.has_manifest(repository, digest)
    assert registry.has_blob(repository, Digest.of(config))


def test_a_manifest_waits_for_a_blob_whose_link_is_just_written_again(services, repository):
    with storage_folder() as folder, registry_on(folder, services.docker_url) as registry:
        content = canonical_json({"rootfs": {"type": "layers", "diff_ids": []}})
        types = media_types("oci")
        config = Descriptor(types.config, registry.put_blob(repository, content), len(content))
        blobs = folder / f"docker/registry/v2/repositories/{repository}/_layers/sha256"
        link = blobs / config.digest.hex / "link"
        whole = link.read_bytes()
        link.write_bytes(b"")
        answers = []

        def observe(method, answer, _):
            answers.append((method, answer))
            link.write_bytes(whole)

        registry.observe(observe)
        manifest = Manifest(types.manifest, config, ())
        registry.put_manifest(repository, manifest.encode(), types.manifest, tag="latest")
        assert answers[:2] == [("PUT", "refused"), ("PUT", "ok")]
