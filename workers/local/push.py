"""An image of the engine into the farm's registry, with the farm's own exporter in place of ``docker push``.

The engine compresses on one processor; ours takes a tenth of the time, and its bytes are the same on every machine.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from buildfarm.errors import SetupError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import CREATED
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Kind, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import MTIME_SECONDS
from workers.local.packages import find_program

_KIND: Kind = "docker"
_OF_THE_BUILD = ("container", "container_config", "docker_version", "id", "parent")

# What is dated so shortly before its layer was finished got its time from the build; packages' own files are older.
# Theirs stay: Python's compiled files in packages are good for a source of just that time.
_BUILD_SECONDS = 3600


def push_image(docker_url: str, image: str, registry: Registry, repository: str, tag: str) -> Digest:
    """Sends the engine's image under a tag, and returns its digest. Raises SetupError and RegistryError."""
    types = media_types(_KIND)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _unpack(docker_url, image, folder)
        # Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format"
        (saved,) = json.loads((folder / "manifest.json").read_text())
        config = (folder / saved["Config"]).read_bytes()
        steps = [step for step in json.loads(config)["history"] if not step.get("empty_layer")]
        sent = [
            _send_layer(folder / layer, _finished_at(step), registry, repository)
            for layer, step in zip(saved["Layers"], steps, strict=True)
        ]
        layers = [Descriptor(types.layers["gzip"], layer.digest, layer.size_bytes) for layer in sent]
        config = normalised(config, [layer.diff_id for layer in sent])
    manifest = Manifest(
        media_type=types.manifest,
        config=Descriptor(types.config, registry.put_blob(repository, config), len(config)),
        layers=tuple(layers),
    ).encode()
    return registry.put_manifest(repository, manifest, types.manifest, tag=tag)


def normalised(config: bytes, diff_ids: Sequence[Digest]) -> bytes:
    """An image's config without when and in which container it was built: the same files, the same digest.

    Because it differs from the engine's own, nodes on this machine pull the builder like all others do. That matters:
    an engine knows a layer's digest in the registry only from a pull, and would fetch the builder with the first app.
    """
    kept = {key: value for key, value in json.loads(config).items() if key not in _OF_THE_BUILD}
    history = [step | {"created": CREATED} for step in kept.get("history", [])]
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return canonical_json(kept | {"created": CREATED, "history": history, "rootfs": rootfs})


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


def _send_layer(layer: Path, finished_at: float, registry: Registry, repository: str) -> LayerDigests:
    # The engine saves a layer that is in an image twice as a link to the first.
    if not layer.is_symlink():
        undate(layer, finished_at)
    return registry.upload(repository, lambda: LayerStream(["cat", str(layer)]))


def _finished_at(step: Mapping[str, str]) -> float:
    return datetime.fromisoformat(step["created"]).timestamp()


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
