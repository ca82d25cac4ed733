"""An image of the engine into the farm's registry, with the farm's own exporter in place of ``docker push``.

The engine compresses on one processor; ours takes a tenth of the time, and its bytes are the same on every machine.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from buildfarm.errors import SetupError
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Kind, Manifest, media_types
from buildfarm.oci.registry import Registry
from workers.local.packages import find_program

_KIND: Kind = "docker"


def push_image(docker_url: str, image: str, registry: Registry, repository: str) -> str:
    """Sends the engine's image, and returns it as ``repository@digest``. Raises SetupError and RegistryError."""
    types = media_types(_KIND)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _unpack(docker_url, image, folder)
        # Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format"
        (saved,) = json.loads((folder / "manifest.json").read_text())
        layers = []
        for layer in saved["Layers"]:
            sent = registry.upload(repository, lambda layer=layer: LayerStream(["cat", str(folder / layer)]))  # type: ignore[misc]
            layers.append(Descriptor(types.layers["gzip"], sent.digest, sent.size_bytes))
        config = (folder / saved["Config"]).read_bytes()
        manifest = Manifest(
            media_type=types.manifest,
            config=Descriptor(types.config, registry.put_blob(repository, config), len(config)),
            layers=tuple(layers),
        ).encode()
    return f"{repository}@{registry.put_manifest(repository, manifest, types.manifest, tag='latest')}"


def is_pushed(registry: Registry, builder: str, image_id: str) -> bool:
    """Whether the registry's ``repository@digest`` is this image of the engine. Raises RegistryError."""
    repository, _, digest = builder.partition("@")
    if not digest or not registry.has_manifest(repository, digest):
        return False
    media_type, content, _ = registry.get_manifest(repository, digest)
    return Manifest.parse(content, media_type).config.digest == image_id


def _unpack(docker_url: str, image: str, folder: Path) -> None:
    command = [find_program("docker") or "docker", "--host", docker_url, "save", image]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        if process.stdout is None or process.stderr is None:
            raise AssertionError("both were asked for")
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            written = process.stderr.read().decode(errors="replace").strip()
            raise SetupError(f"The image {image} cannot be read from the engine: {written or error}") from error
