"""The nouns of an image as data: descriptors, manifests and configs, read and written; nothing here does I/O.

Sources: OCI image-spec v1.1, descriptor.md, manifest.md and config.md; Docker's "Image Manifest Version 2, Schema 2",
which differs from OCI's manifest in its media types alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from buildfarm.oci.digest import Digest

Kind = Literal["docker", "oci"]
Compression = Literal["gzip", "zstd", "none"]

MANIFEST_TYPES: dict[Kind, str] = {
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
    "oci": "application/vnd.oci.image.manifest.v1+json",
}
INDEX_TYPES: dict[Kind, str] = {
    "docker": "application/vnd.docker.distribution.manifest.list.v2+json",
    "oci": "application/vnd.oci.image.index.v1+json",
}
MANIFEST_BYTES_MAX = 4 * 1024 * 1024
"""What a registry must at least take, and what this farm takes at most (distribution-spec, "Pushing Manifests")."""


@dataclass(frozen=True)
class LayerDigests:
    """What is known of a layer when all of it went by.

    ``digest`` and ``size_bytes`` are of the compressed blob, as a registry keeps it; ``diff_id`` and
    ``uncompressed_bytes`` are of the tar archive in it (image-spec config.md, "Layer DiffID").
    """

    digest: Digest
    diff_id: Digest
    size_bytes: int
    uncompressed_bytes: int


@dataclass(frozen=True)
class MediaTypes:
    """The names that one kind of image gives to its parts."""

    manifest: str
    config: str
    layers: Mapping[Compression, str]


_MEDIA_TYPES: dict[Kind, MediaTypes] = {
    "docker": MediaTypes(
        manifest=MANIFEST_TYPES["docker"],
        config="application/vnd.docker.container.image.v1+json",
        layers={
            "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
            "none": "application/vnd.docker.image.rootfs.diff.tar",
        },
    ),
    "oci": MediaTypes(
        manifest=MANIFEST_TYPES["oci"],
        config="application/vnd.oci.image.config.v1+json",
        layers={
            "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
            "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
            "none": "application/vnd.oci.image.layer.v1.tar",
        },
    ),
}


def media_types(kind: Kind) -> MediaTypes:
    """The media types of a Docker or an OCI image."""
    return _MEDIA_TYPES[kind]


def layer_compression(media_type: str) -> Compression:
    """How a layer of this media type is compressed; raises ValueError if it is not a layer of an image."""
    for types in _MEDIA_TYPES.values():
        for compression, name in types.layers.items():
            if name == media_type:
                return compression
    raise ValueError(f"{media_type[:120]!r} is not a type of layer that this farm supports")


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces: what is equal has equal bytes, and so one digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of one blob; ``size`` in bytes (image-spec descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Raises ValueError when a field is missing or of another type."""
        fields = _mapping(value, "a descriptor")
        size = _field(fields, "size", int)
        if size < 0 or isinstance(size, bool):
            raise ValueError(f"a descriptor's size cannot be {size!r}")
        annotations = {
            str(key): str(text) for key, text in _mapping(fields.get("annotations") or {}, "annotations").items()
        }
        return cls(_field(fields, "mediaType", str), Digest(_field(fields, "digest", str)), size, annotations)

    def to_json(self) -> dict[str, object]:
        fields: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return fields | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True)
class Manifest:
    """An image's config and layers, base layer first.

    ``artifact_type`` is OCI's alone. Docker's format says nothing of ``annotations``, but tools read them in both.
    """

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, media_type: str | None = None) -> Manifest:
        """Read a manifest's bytes; ``media_type`` is what the registry said, where it said something.

        Raises ValueError if it is not the manifest of a single image, or if bytes and ``media_type`` disagree
        (image-spec manifest.md: they must not).
        """
        fields = _mapping(parse_json(content, "a manifest"), "a manifest")
        stated = fields.get("mediaType") or media_type
        if media_type is not None and stated != media_type:
            raise ValueError(
                f"the registry serves the manifest as {media_type!r}, but the manifest itself says {stated!r}"
            )
        if stated in INDEX_TYPES.values():
            raise ValueError(f"{stated!r} lists images for several platforms; name one of them by its digest")
        if stated not in MANIFEST_TYPES.values() or fields.get("schemaVersion") != 2:
            raise ValueError(f"{stated!r} is not a type of image manifest that this farm supports")
        artifact_type = fields.get("artifactType")
        return cls(
            media_type=str(stated),
            config=Descriptor.from_json(fields.get("config")),
            layers=tuple(Descriptor.from_json(layer) for layer in _field(fields, "layers", list)),
            artifact_type=None if artifact_type is None else str(artifact_type),
            annotations={str(k): str(v) for k, v in _mapping(fields.get("annotations") or {}, "annotations").items()},
        )

    def encode(self) -> bytes:
        """The manifest as canonical JSON."""
        fields: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.artifact_type is not None:
            fields["artifactType"] = self.artifact_type
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return canonical_json(fields)


@dataclass(frozen=True)
class ImageConfig:
    """An image's config: the fields the farm reads, and ``raw`` with everything it keeps (image-spec config.md)."""

    architecture: str
    os: str
    diff_ids: tuple[Digest, ...]
    runtime: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    raw: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes) -> ImageConfig:
        """Raises ValueError if the bytes are not an image config."""
        raw = _mapping(parse_json(content, "an image config"), "an image config")
        rootfs = _mapping(raw.get("rootfs"), "an image config's rootfs")
        return cls(
            architecture=_field(raw, "architecture", str),
            os=_field(raw, "os", str),
            diff_ids=tuple(Digest(str(diff_id)) for diff_id in _field(rootfs, "diff_ids", list)),
            runtime=_mapping(raw.get("config") or {}, "an image config's config"),
            history=tuple(_mapping(step, "a step of history") for step in raw.get("history") or ()),
            raw=raw,
        )


def parse_json(content: bytes, what: str) -> object:
    """Read JSON; raises ValueError that names ``what`` was expected."""
    try:
        return cast("object", json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON: {error}") from error


_T = TypeVar("_T")


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")  # noqa: TRY004 - what was read is wrong, not our types
    return value


def _field(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = fields.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is missing, or is not of the type {kind.__name__}")  # noqa: TRY004 - as above
    return value
