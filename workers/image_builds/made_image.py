"""An image whose layers are files of the node, and how it comes into the registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import InternalError
from buildfarm.model import Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import ComposedImage
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import LayerDigests
from buildfarm.oci.registry import Registry


@dataclass(frozen=True)
class MadeLayer:
    """A layer; ``blob`` is the file of it as it goes over the wire, or None if the registry has it."""

    digests: LayerDigests
    blob: Path | None

    @property
    def file(self) -> Path:
        """The blob's; raises InternalError if there is none."""
        if self.blob is None:
            raise InternalError(f"The layer {self.digests.diff_id} was not made: the registry has it.")
        return self.blob


@dataclass(frozen=True)
class MadeImage:
    """An image that only this node has so far."""

    image: ComposedImage
    layers: tuple[MadeLayer, ...]  # from the bottom up

    @property
    def uncompressed_bytes(self) -> int:
        """Of all layers."""
        return sum(layer.digests.uncompressed_bytes for layer in self.layers)

    @property
    def size_bytes(self) -> int:
        """Of all layers, as the registry keeps them."""
        return sum(layer.digests.size_bytes for layer in self.layers)


def send_image(registry: Registry, repository: str, made: MadeImage, *, tag: str | None = None) -> tuple[Layer, ...]:
    """Sends what the registry lacks, under the image's digest alone or under a tag as well. Raises RegistryError."""
    layers = tuple(_send_layer(registry, repository, layer) for layer in made.layers)
    registry.put_blob(repository, made.image.config)
    registry.put_manifest(repository, made.image.manifest, made.image.media_type, tag=tag)
    return layers


def layers_of(registry: Registry, repository: str, tag: str) -> dict[Digest, LayerDigests]:
    """By their diff IDs, the layers of the image under this tag; none if there is no such image.

    Their uncompressed sizes are not told. Raises RegistryError.
    """
    if not registry.has_manifest(repository, tag):
        return {}
    manifest, _ = registry.read_manifest(repository, tag)
    config = json.loads(registry.read_blob(repository, manifest.config.digest))
    return {
        diff_id: LayerDigests(layer.digest, diff_id, layer.size, 0)
        for diff_id, layer in zip(map(Digest, config["rootfs"]["diff_ids"]), manifest.layers, strict=True)
        if registry.has_blob(repository, layer.digest)
    }


def _send_layer(registry: Registry, repository: str, layer: MadeLayer) -> Layer:
    digests = layer.digests
    reused = layer.blob is None or registry.has_blob(repository, digests.digest)
    if not reused:
        # Compressed already: it goes as it is.
        registry.upload(repository, lambda: LayerStream(["cat", str(layer.file)], compression="none"))
    return Layer(
        digest=digests.digest,
        diff_id=digests.diff_id,
        size_bytes=digests.size_bytes,
        uncompressed_bytes=digests.uncompressed_bytes,
        origin="image",
        reused=reused,
    )
