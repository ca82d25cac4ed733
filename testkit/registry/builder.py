"""A builder of two tiny layers, and builders with one layer more than another, in whichever registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from workers.builder import Builder

REPOSITORY = "builder"
_ARCHIVES = (bytes(1024), bytes(2048))  # without entries


def push_builder(registry: Registry) -> Builder:
    """Pushes it under the tag latest."""
    types = media_types("docker")
    packed = [gzip.compress(archive, mtime=0) for archive in _ARCHIVES]
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(archive) for archive in _ARCHIVES]},
        }
    )
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(REPOSITORY, config), len(config)),
        tuple(Descriptor(types.layers["gzip"], registry.put_blob(REPOSITORY, layer), len(layer)) for layer in packed),
    )
    digest = registry.put_manifest(REPOSITORY, manifest.encode(), types.manifest, tag="latest")
    return Builder("unused", REPOSITORY, digest, manifest, config)


def archive_of(files: Mapping[str, str | bytes]) -> bytes:
    """A tar archive of these files, which anybody may run."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def push_patched(
    registry: Registry, builder: Builder, files: Mapping[str, str | bytes], created: str, **config: object
) -> str:
    """Pushes this builder with these files over its own; returns it as repository@digest. None of its tags moves.

    ``config`` are fields of its config: of its runtime config where they are in upper case.
    """
    archive = archive_of(files)
    packed = gzip.compress(archive, mtime=0)
    told = json.loads(builder.config) | {"created": created}
    told["rootfs"]["diff_ids"].append(Digest.of(archive))
    told["history"] = [*told.get("history", ()), {"created": created, "created_by": "a patch"}]
    for name, value in config.items():
        (told["config"] if name[0].isupper() else told)[name] = value
    content, types = canonical_json(told), media_types("docker")
    layer = Descriptor(types.layers["gzip"], registry.put_blob(builder.repository, packed), len(packed))
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(builder.repository, content), len(content)),
        (*builder.manifest.layers, layer),
    ).encode()
    return f"{builder.repository}@{registry.put_manifest(builder.repository, manifest, types.manifest, tag=None)}"
