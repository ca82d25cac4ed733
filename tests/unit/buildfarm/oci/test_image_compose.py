"""Manifests and configs: read, written and put together."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, AddedLayer, RuntimeConfig, artifact, compose
from buildfarm.oci.manifest import Descriptor, ImageConfig, LayerDigests, Manifest, canonical_json, media_types

DOCKER = media_types("docker")
OCI = media_types("oci")

BASE_CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "container": "0123",
        "config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["sh"], "Labels": {"base": "1"}, "User": "root"},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "base"}],
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(b"base raw")]},
    }
).encode()
BASE = Manifest(
    DOCKER.manifest,
    Descriptor(DOCKER.config, Digest.of(BASE_CONFIG), len(BASE_CONFIG)),
    (Descriptor(DOCKER.layers["gzip"], Digest.of(b"base"), 4),),
)
APP = AddedLayer(LayerDigests(Digest.of(b"app"), Digest.of(b"app raw"), 3, 7), "buildpack python")
CHANGES = RuntimeConfig(
    entrypoint=("/usr/bin/launch",),
    user="1000:1000",
    working_dir="/app",
    env={"PORT": "8080", "LANG": "C.UTF-8"},
    labels={"farm": "1"},
    exposed_ports=("8080/tcp",),
)


def composed(**given):
    return compose(
        given.pop("base", BASE),
        given.pop("config", BASE_CONFIG),
        given.pop("layers", [APP]),
        **{"changes": CHANGES, "kind": "docker", "compression": "gzip"} | given,
    )


def test_the_digest_of_an_image_never_changes():
    """Whoever changes this digest uploads every customer's image again: it needs a line in the changelog."""
    assert composed().digest == "sha256:e66412b694d05f4e1d038851e9bb71446e9020792398035191e2319f83f25af7"
    assert (
        composed(kind="oci", compression="zstd").digest
        == "sha256:016acd3efca2ad0628ba3afa37b6cc8dd6adc837cee86182b47664f7b50bdb1d"
    )


def test_the_layers_follow_the_bases():
    image = composed()

    manifest = Manifest.parse(image.manifest, image.media_type)
    config = ImageConfig.parse(image.config)

    assert manifest.layers == (*BASE.layers, Descriptor(DOCKER.layers["gzip"], APP.digests.digest, 3))
    assert manifest.config == Descriptor(DOCKER.config, Digest.of(image.config), len(image.config))
    assert config.diff_ids == (Digest.of(b"base raw"), APP.digests.diff_id)
    assert [step["created_by"] for step in config.history] == ["base", "buildpack python"]
    assert image.digest == Digest.of(image.manifest)
    assert config.raw["created"] == "1970-01-01T00:00:01Z"
    assert "container" not in config.raw


def test_the_runtime_config_is_the_bases_with_changes():
    assert ImageConfig.parse(composed().config).runtime == {
        "Env": ["PATH=/bin", "LANG=C.UTF-8", "PORT=8080"],
        "Entrypoint": ["/usr/bin/launch"],
        "Labels": {"base": "1", "farm": "1"},
        "User": "1000:1000",
        "WorkingDir": "/app",
        "ExposedPorts": {"8080/tcp": {}},
    }


def test_a_base_without_history_gets_one():
    config = canonical_json({**json.loads(BASE_CONFIG), "history": None})

    steps = ImageConfig.parse(composed(config=config).config).history

    assert [step["created_by"] for step in steps] == ["base image", "buildpack python"]


def test_no_change_keeps_the_bases_runtime():
    runtime = ImageConfig.parse(composed(changes=RuntimeConfig()).config).runtime

    assert runtime == ImageConfig.parse(BASE_CONFIG).runtime


def test_a_new_command_is_kept_beside_a_new_entrypoint():
    runtime = ImageConfig.parse(composed(changes=RuntimeConfig(entrypoint=("run",), cmd=("web",))).config).runtime

    assert (runtime["Entrypoint"], runtime["Cmd"]) == (["run"], ["web"])


def test_an_oci_image_has_oci_types_throughout():
    image = composed(kind="oci", compression="zstd")

    manifest = Manifest.parse(image.manifest)
    assert manifest.media_type == OCI.manifest
    assert manifest.config.media_type == OCI.config
    assert [layer.media_type for layer in manifest.layers] == [OCI.layers["gzip"], OCI.layers["zstd"]]


@given(st.permutations(list(CHANGES.env.items())), st.permutations(["b", "a", "c"]))
def test_the_order_of_what_has_no_order_does_not_matter(env, labels):
    one = composed(changes=RuntimeConfig(env=dict(env), labels=dict.fromkeys(labels, "")))
    two = composed(changes=RuntimeConfig(env=CHANGES.env, labels=dict.fromkeys("abc", "")))

    assert one == two


def test_a_base_whose_config_and_manifest_disagree_is_refused():
    with pytest.raises(ValueError, match="names 1 layers and its manifest 0"):
        composed(base=Manifest(DOCKER.manifest, BASE.config, ()))


descriptors = st.builds(
    Descriptor,
    media_type=st.text(min_size=1, max_size=20),
    digest=st.binary(max_size=4).map(Digest.of),
    size=st.integers(0, 2**60),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@given(
    st.builds(
        Manifest,
        media_type=st.sampled_from([DOCKER.manifest, OCI.manifest]),
        config=descriptors,
        layers=st.lists(descriptors, max_size=3).map(tuple),
        artifact_type=st.none() | st.text(max_size=9),
        annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    )
)
def test_parsing_a_manifest_undoes_encoding(manifest):
    assert Manifest.parse(manifest.encode(), manifest.media_type) == manifest


def test_a_manifest_without_a_type_has_the_one_the_registry_says():
    fields = json.loads(Manifest(OCI.manifest, BASE.config, ()).encode())
    del fields["mediaType"]

    assert Manifest.parse(json.dumps(fields).encode(), OCI.manifest).media_type == OCI.manifest


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (b"", None, "must be JSON"),
        (b"\xff", None, "must be JSON"),
        (b"[" * 100_000, None, "must be JSON"),
        (b"[]", None, "must be a JSON object"),
        (b"{}", None, "is not a type of image manifest"),
        (BASE.encode(), OCI.manifest, "the registry serves"),
        (BASE.encode().replace(b'"schemaVersion":2', b'"schemaVersion":1'), None, "is not a type of image manifest"),
        (b'{"mediaType":"application/vnd.oci.image.index.v1+json"}', None, "several platforms"),
        (BASE.encode().replace(b'"size":4', b'"size":-4'), None, "size cannot be -4"),
        (BASE.encode().replace(b'"size":4', b'"size":"4"'), None, "size is missing"),
        (BASE.encode().replace(b"sha256:", b"md5:"), None, "is not a digest"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_reason(content, media_type, reason):
    with pytest.raises(ValueError, match=reason):
        Manifest.parse(content, media_type)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["x"]}}'])
def test_what_is_no_config_is_refused(content):
    with pytest.raises(ValueError, match=re.compile("must be|is missing|is not a digest")):
        ImageConfig.parse(content)


def test_an_artifact_has_the_empty_config():
    blob = Descriptor("application/vnd.farm.cache", Digest.of(b"cache"), 5)

    manifest = Manifest.parse(artifact("application/vnd.farm.cache", [blob], annotations={"key": "1"}))

    assert manifest.config == Descriptor("application/vnd.oci.empty.v1+json", Digest.of(EMPTY_CONFIG), 2)
    assert manifest.layers == (blob,)
    assert (manifest.artifact_type, manifest.annotations) == ("application/vnd.farm.cache", {"key": "1"})


def test_an_artifact_without_blobs_is_refused():
    with pytest.raises(ValueError, match="at least one blob"):
        artifact("application/vnd.farm.cache", [])
