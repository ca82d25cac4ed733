"""An image put together from a base and the layers of an app; pure, so the same input has the same digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import (
    Compression,
    Descriptor,
    ImageConfig,
    Kind,
    LayerDigests,
    Manifest,
    canonical_json,
    layer_compression,
    media_types,
)

CREATED = "1970-01-01T00:00:01Z"
"""When every image was made, as far as its config says: the time of making must not change its digest."""

EMPTY_CONFIG = b"{}"
"""The config of an artifact that has none; it is a blob and must be pushed like any other."""

_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class AddedLayer:
    """A layer put on top of the base; ``origin`` says in the image's history where it comes from.

    ``media_type`` is its own; empty: that of the image's kind and compression.
    """

    digests: LayerDigests
    origin: str
    media_type: str = ""


@dataclass(frozen=True)
class RuntimeConfig:
    """What an image's runtime config gets over its base's (image-spec config.md, field ``config``).

    None keeps what the base says. ``env`` and ``labels`` are added to the base's, and win over them; ``variables`` are
    NAME=VALUE and take the place of both environments. A new ``entrypoint`` drops the base's ``cmd``, whose arguments
    were for another program.
    """

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str | None = None
    working_dir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComposedImage:
    """An image's two small blobs as they are pushed; ``digest`` is the manifest's, and so the image's."""

    config: bytes
    manifest: bytes
    media_type: str
    digest: Digest


def compose(
    base_manifest: Manifest,
    base_config: bytes,
    layers: Sequence[AddedLayer],
    *,
    changes: RuntimeConfig,
    kind: Kind,
    compression: Compression = "gzip",
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> ComposedImage:
    """The base's layers, then ``layers``, under the base's config with ``changes``; ``annotations`` are the manifest's.

    ``compression`` is that of the added layers. The base's layers keep their compression and get the media types of
    ``kind``. Raises ValueError if the base is not an image, or its config and manifest differ in the number of layers.
    """
    base = ImageConfig.parse(base_config)
    if len(base.diff_ids) != len(base_manifest.layers):
        raise ValueError(
            f"the base's config names {len(base.diff_ids)} layers and its manifest {len(base_manifest.layers)}"
        )
    types = media_types(kind)
    config = canonical_json(_config(base, layers, changes))
    manifest = Manifest(
        media_type=types.manifest,
        config=Descriptor(types.config, Digest.of(config), len(config)),
        layers=(
            *(_converted(layer, kind) for layer in base_manifest.layers),
            *(_descriptor(layer.digests, layer.media_type or types.layers[compression]) for layer in layers),
        ),
        annotations=annotations,
    ).encode()
    return ComposedImage(config, manifest, types.manifest, Digest.of(manifest))


def artifact(
    artifact_type: str,
    blobs: Iterable[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    """The manifest of blobs that are not an image (image-spec manifest.md, "Guidelines for Artifact Usage").

    Its config is the two bytes of `EMPTY_CONFIG`, to be pushed before it. There must be at least one blob, for
    registries refuse a manifest without layers; raises ValueError if there is none.
    """
    layers = tuple(blobs)
    if not layers:
        raise ValueError("an artifact needs at least one blob")
    return Manifest(
        media_type=media_types("oci").manifest,
        config=Descriptor(_EMPTY_TYPE, Digest.of(EMPTY_CONFIG), len(EMPTY_CONFIG)),
        layers=layers,
        artifact_type=artifact_type,
        annotations=annotations or {},
    ).encode()


def _config(base: ImageConfig, layers: Sequence[AddedLayer], changes: RuntimeConfig) -> dict[str, Any]:
    # Docker's own fields about the container that an image was committed from would describe the base's, not this one.
    kept = {
        key: value for key, value in base.raw.items() if key not in ("container", "container_config", "id", "parent")
    }
    # Tools put layers and history side by side: a base that says nothing of its own layers would shift ours.
    unsaid = max(0, len(base.diff_ids) - sum(not step.get("empty_layer") for step in base.history))
    origins = [*(["base image"] * unsaid), *(layer.origin for layer in layers)]
    steps = [{"created": CREATED, "created_by": origin} for origin in origins]
    return kept | {
        "created": CREATED,
        "config": _runtime(base.runtime, changes),
        "history": [*base.history, *steps],
        "rootfs": {
            "type": "layers",
            "diff_ids": [*base.diff_ids, *(layer.digests.diff_id for layer in layers)],
        },
    }


def _runtime(base: Mapping[str, Any], changes: RuntimeConfig) -> dict[str, Any]:
    runtime = dict(base)
    if changes.entrypoint is not None:
        runtime["Entrypoint"] = list(changes.entrypoint)
        runtime.pop("Cmd", None)
    if changes.cmd is not None:
        runtime["Cmd"] = list(changes.cmd)
    if changes.user is not None:
        runtime["User"] = changes.user
    if changes.working_dir is not None:
        runtime["WorkingDir"] = changes.working_dir
    if changes.env:
        runtime["Env"] = environment(base.get("Env") or (), changes.env)
    if changes.variables or (changes.variables is not None and "Env" in base):
        runtime["Env"] = list(changes.variables)
    if changes.labels:
        runtime["Labels"] = {**(base.get("Labels") or {}), **changes.labels}
    if changes.exposed_ports:
        runtime["ExposedPorts"] = {**(base.get("ExposedPorts") or {}), **{port: {} for port in changes.exposed_ports}}
    return runtime


def environment(base: Iterable[str], added: Mapping[str, str]) -> list[str]:
    """The base's variables in their order, then the new ones in the order of their names."""
    values = dict(line.partition("=")[::2] for line in base)
    values |= dict(sorted(added.items()))
    return [f"{name}={value}" for name, value in values.items()]


def _descriptor(layer: LayerDigests, media_type: str) -> Descriptor:
    return Descriptor(media_type, layer.digest, layer.size_bytes)


def _converted(layer: Descriptor, kind: Kind) -> Descriptor:
    return Descriptor(media_types(kind).layers[layer_compression(layer.media_type)], layer.digest, layer.size)
