"""An image that is ready to be sent, its layers as files; and how one is made of an image of the engine.

``docker push`` compresses on one processor; our exporter takes a tenth of the time, and its bytes are the same on every
machine.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from io import BufferedReader, RawIOBase
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker

from buildfarm.errors import NodeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import CREATED, ComposedImage
from buildfarm.oci.layer import LayerStream, hash_raw
from buildfarm.oci.manifest import Descriptor, Kind, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import MTIME_SECONDS
from buildfarm.oci.unpack import unpacked
from workers.attempt.signals import Check, go_on
from workers.engine import engine_failures, long_call
from workers.image_builds.made_image import MadeImage, MadeLayer, layers_of, send_image

_OF_THE_BUILD = ("container", "container_config", "docker_version", "id", "parent")
_READ_BYTES = 1024 * 1024
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # how gzip and zstd begin
_SAVE_SECONDS = 600.0  # the engine writes all of it to its disk before it says a word

# What is dated so shortly before its layer was finished got its time from the build; packages' own files are older.
# Theirs stay: Python's compiled files in packages are good for a source of just that time.
_BUILD_SECONDS = 3600


def push_image(client: docker.DockerClient, image: str, registry: Registry, repository: str, tag: str) -> Digest:
    """Sends an image of the engine under a tag, and returns its digest. Raises NodeError and RegistryError.

    A layer that is in the image under that tag already is neither compressed nor sent again.
    """
    known = layers_of(registry, repository, tag)
    with tempfile.TemporaryDirectory() as folder:
        made = read_image(client, image, Path(folder), known=known)
        send_image(registry, repository, made, tag=tag)
    return made.image.digest


def read_image(
    client: docker.DockerClient,
    image: str,
    folder: Path,
    *,
    kind: Kind = "docker",
    check: Check = go_on,
    known: Mapping[Digest, LayerDigests] = MappingProxyType({}),
) -> MadeImage:
    """The engine's image as it is sent: nothing in it depends on when it was built. Its layers are files in ``folder``.

    ``known`` are layers that the registry has, by their diff IDs.

    Raises NodeError if it cannot be read, and what ``check`` raises.
    """
    saved = folder / "saved"
    saved.mkdir()
    with engine_failures(f"export {image}"):
        with long_call(client, "GET", f"/images/{image}/get", silence_seconds=_SAVE_SECONDS) as response:
            response.raise_for_status()
            _unpack(image, response.iter_content(_READ_BYTES), saved, check)
        # Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format"
        (told,) = json.loads((saved / "manifest.json").read_text())
        config = (saved / told["Config"]).read_bytes()
        steps = [step for step in json.loads(config)["history"] if not step.get("empty_layer")]
        made: dict[Path, MadeLayer] = {}
        layers = []
        for name, step in zip(told["Layers"], steps, strict=True):
            check()
            # The engine saves a layer that is in an image twice as a link to the first.
            layer = (saved / name).resolve()
            if layer not in made:
                made[layer] = _make(layer, step, folder / f"layer-{len(made)}", known)
            layers.append(made[layer])
    return MadeImage(_composed(config, [layer.digests for layer in layers], kind), tuple(layers))


def normalised(config: bytes, diff_ids: Sequence[Digest]) -> bytes:
    """An image's config without when and in which container it was built: the same files, the same digest.

    Because it differs from the engine's own, nodes on this machine pull the builder like all others do. That matters:
    an engine knows a layer's digest in the registry only from a pull, and would fetch the builder with the first app.
    """
    kept = {key: value for key, value in json.loads(config).items() if key not in _OF_THE_BUILD}
    # The engine's id of the step before, which has its time in it
    runtime = {key: value for key, value in kept.get("config", {}).items() if key != "Image"}
    history = [step | {"created": CREATED} for step in kept.get("history", [])]
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return canonical_json(kept | {"config": runtime, "created": CREATED, "history": history, "rootfs": rootfs})


def undate(layer: Path, finished_at: float) -> None:
    """Gives what in a layer (a tar archive, replaced) has its time from the build the time that all our files have."""
    undated = layer.with_suffix(".undated")
    with tarfile.open(layer) as old, tarfile.open(undated, "w", format=tarfile.PAX_FORMAT) as new:
        for entry in old:
            if entry.mtime > finished_at - _BUILD_SECONDS:
                entry.mtime = MTIME_SECONDS
                entry.pax_headers = {key: value for key, value in entry.pax_headers.items() if key != "mtime"}
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
    undated.replace(layer)


def _make(layer: Path, step: Mapping[str, Any], blob: Path, known: Mapping[Digest, LayerDigests]) -> MadeLayer:
    """The layer as it is sent; its file is removed, for both would take the space twice."""
    _decompress(layer)
    # A layer that was sent before, that of a base, is undated already: a second time would take it all for new.
    if step["created"] != CREATED:
        undate(layer, datetime.fromisoformat(step["created"]).timestamp())
    read = ["cat", str(layer)]
    if known and (there := known.get(hash_raw(read))):
        made = MadeLayer(replace(there, uncompressed_bytes=layer.stat().st_size), None)
    else:
        with LayerStream(read) as stream, blob.open("xb") as file:
            for piece in stream:
                file.write(piece)
        made = MadeLayer(stream.layer, blob)
    layer.unlink()
    return made


def _decompress(layer: Path) -> None:
    """Replaces a layer by its tar archive: engines with the containerd image store save layers as they pulled them."""
    with layer.open("rb") as file:
        if not file.read(len(_PACKED[1])).startswith(_PACKED):
            return
    plain = layer.with_suffix(".plain")
    with layer.open("rb") as packed, plain.open("wb") as file:
        pieces = (piece for piece in iter(lambda: packed.read(_READ_BYTES), b""))
        for piece in unpacked(pieces):
            file.write(piece)
    plain.replace(layer)


def _composed(config: bytes, layers: Sequence[LayerDigests], kind: Kind) -> ComposedImage:
    types = media_types(kind)
    config = normalised(config, [layer.diff_id for layer in layers])
    manifest = Manifest(
        media_type=types.manifest,
        config=Descriptor(types.config, Digest.of(config), len(config)),
        layers=tuple(Descriptor(types.layers["gzip"], layer.digest, layer.size_bytes) for layer in layers),
    ).encode()
    return ComposedImage(config, manifest, types.manifest, Digest.of(manifest))


def _unpack(image: str, pieces: Iterable[bytes], folder: Path, check: Check) -> None:
    try:
        with tarfile.open(fileobj=BufferedReader(_Pieces(pieces, check), _READ_BYTES), mode="r|") as archive:
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise NodeError(f"The image {image} cannot be read from the engine: {error}") from error


class _Pieces(RawIOBase):
    """Pieces as a file that is read once from its start."""

    def __init__(self, pieces: Iterable[bytes], check: Check) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._check = check
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._check()
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
