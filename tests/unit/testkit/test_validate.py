"""The validator: it passes what the farm makes, and names every rule that is broken."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import tarfile

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig, compose
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, ImageConfig, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.oci.tree import Entry, header_entries, tar_command, tree_names
from testkit.registry.validate import InvalidImageError, validate

TYPES = media_types("docker")


def push(registry, layers, **changes):
    """An image of these layers on an empty base; ``changes`` replace fields of its config."""
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        | changes
    )
    manifest = Manifest(
        TYPES.manifest,
        Descriptor(TYPES.config, registry.put_blob("app", config), len(config)),
        tuple(Descriptor(TYPES.layers["gzip"], layer.digest, layer.size_bytes) for layer in layers),
    )
    return registry.put_manifest("app", manifest.encode(), manifest.media_type, tag=None)


def push_raw(registry, raw):
    packed = gzip.compress(raw, mtime=0)
    return LayerDigests(registry.put_blob("app", packed), Digest.of(raw), len(packed), len(raw))


def broken(registry, digest, **options):
    with pytest.raises(InvalidImageError) as caught:
        validate(registry, "app", digest, **options)
    return "\n".join(caught.value.broken)


def archive(*entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, changes in entries:
            info = tarfile.TarInfo(name)
            info.mtime = 1
            for field, value in changes.items():
                setattr(info, field, value)
            tar.addfile(info)
    return raw.getvalue()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_an_image_of_the_farm_is_valid(registry, tmp_path, kind, compression):
    root = tmp_path / "app"
    root.mkdir()
    (root / "data").write_bytes(os.urandom(2_500_000))
    (root / "link").symlink_to("data")
    base = push_raw(
        registry, archive(("bin/su", {"mode": 0o4755, "mtime": 99}), ("dev/null", {"type": tarfile.CHRTYPE}))
    )
    manifest = Manifest.parse(registry.get_manifest("app", push(registry, [base]))[1])
    base_config = registry.read_blob("app", manifest.config.digest)

    layer = registry.upload(
        "app",
        lambda: LayerStream(
            tar_command(root, owner=1000, names=True),
            names=tree_names(root),
            prefix=header_entries([Entry("etc/farm", b"")]),
            compression=compression,
        ),
    )
    image = compose(
        manifest,
        base_config,
        [AddedLayer(layer, "app")],
        changes=RuntimeConfig(),
        kind=kind,
        compression=compression,
    )
    registry.put_blob("app", image.config)
    digest = registry.put_manifest("app", image.manifest, image.media_type, tag="v1")

    assert digest == image.digest
    assert len(ImageConfig.parse(image.config).diff_ids) == 2
    validate(registry, "app", digest, app_layers=1, owners=(0, 1000))
    assert "'app' belongs to 1000:1000" in broken(registry, digest, app_layers=1)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("/etc/x", {})], "'/etc/x' leads out of the image"),
        ([("a/../../x", {})], "leads out of the image"),
        ([("a", {}), ("./a", {})], "is there twice"),
        ([("a", {"mtime": 2})], "'a' has the time 2"),
        ([("a", {"uid": 5})], "'a' belongs to 5:0"),
        ([("a", {"uname": "root"})], "belongs to 0:0 root:"),
        ([("a", {"mode": 0o4755})], "'a' has the mode 4755"),
        ([("a", {"type": tarfile.CHRTYPE})], "is neither file nor folder"),
        ([("a", {"type": tarfile.FIFOTYPE})], "is neither file nor folder"),
    ],
)
def test_a_bad_entry_is_named(registry, entries, reason):
    digest = push(registry, [push_raw(registry, archive(*entries))])

    assert reason in broken(registry, digest, app_layers=1)


GOOD = archive(("a", {}), ("b", {}))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"no archive" * 100, "header"),
        (GOOD[:1024], "stops without an end-of-archive"),
        (GOOD[:512] + b"x" * 512 + GOOD[1024:], "something behind its last entry, at byte 512"),
        (GOOD[:-1] + b"x", "something behind its last entry"),
    ],
)
def test_a_broken_archive_is_found(registry, raw, reason):
    assert reason in broken(registry, push(registry, [push_raw(registry, raw)]))


def test_an_empty_archive_is_fine(registry):
    validate(registry, "app", push(registry, [push_raw(registry, archive())]), app_layers=1)


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed[:30] + b"x" + packed[31:]])
def test_a_broken_compression_is_found(registry, damage):
    packed = damage(gzip.compress(GOOD, mtime=0))
    layer = LayerDigests(registry.put_blob("app", packed), Digest.of(GOOD), len(packed), len(GOOD))

    assert broken(registry, push(registry, [layer])).startswith("layer 0: ")


def test_wrong_digests_and_sizes_are_found(registry, fake):
    layer = push_raw(registry, GOOD)
    other = dataclasses.replace(layer, diff_id=Digest.of(b"other"))
    longer = dataclasses.replace(layer, size_bytes=layer.size_bytes + 1)
    shorter = dataclasses.replace(layer, size_bytes=layer.size_bytes - 1)

    assert "the config says" in broken(registry, push(registry, [other]))
    assert f"and the manifest says {layer.size_bytes + 1}" in broken(registry, push(registry, [longer]))
    assert "is over" in broken(registry, push(registry, [shorter]))
    digest = push(registry, [layer])
    fake.repository("app").blobs[layer.digest] = gzip.compress(archive(("c", {})), mtime=0)
    assert "but returned sha256:" in broken(registry, digest)
    del fake.repository("app").blobs[layer.digest]
    assert "404" in broken(registry, digest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rootfs": {"diff_ids": []}}, "the config names 0 layers, and the manifest 1"),
        ({"rootfs": {}}, "diff_ids is missing"),
        ({"history": [{"empty_layer": True}]}, "the history lists 0 layers"),
        ({"os": 1}, "os is missing"),
    ],
)
def test_a_config_that_does_not_fit_is_found(registry, changes, reason):
    assert reason in broken(registry, push(registry, [push_raw(registry, GOOD)], **changes))


def test_a_config_of_another_size_is_found(registry):
    digest = push(registry, [])
    fields = json.loads(registry.get_manifest("app", digest)[1])
    fields["config"]["size"] += 1

    digest = registry.put_manifest("app", canonical_json(fields), TYPES.manifest, tag=None)

    assert "and the manifest says" in broken(registry, digest)


def test_the_list_of_problems_has_an_end(registry):
    raw = archive(*((f"f{number}", {"mtime": 9}) for number in range(200)))

    assert len(broken(registry, push(registry, [push_raw(registry, raw)]), app_layers=1).splitlines()) == 50


def test_an_image_that_is_not_there_is_not_valid(registry):
    assert "404" in broken(registry, Digest.of(b"gone"))
