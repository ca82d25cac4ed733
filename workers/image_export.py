"""A tree as an image that stands on nothing: one layer, a config that says how it runs, and the ways it goes on.

What the engine is given to try is what the registry gets: the same config, and so the same diff IDs.
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from buildfarm.errors import TooLargeError
from buildfarm.model import Layer
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, ComposedImage, RuntimeConfig, compose
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Kind, LayerDigests, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import Entry, header_entries, tar_command, tree_names
from buildfarm.recipe import Budget, Plan, Runtime

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as image-spec config.md wants them: those of Go
_SECOND = 1_000_000_000  # of Docker's healthcheck, in nanoseconds


@dataclass(frozen=True)
class SlimImage:
    """An image of one layer; ``blob`` is the layer as it goes over the wire."""

    image: ComposedImage
    layer: LayerDigests
    blob: Path

    def as_layer(self, *, reused: bool) -> Layer:
        """The layer as a build's result tells of it."""
        return Layer(
            digest=self.layer.digest,
            diff_id=self.layer.diff_id,
            size_bytes=self.layer.size_bytes,
            uncompressed_bytes=self.layer.uncompressed_bytes,
            origin="image",
            reused=reused,
        )


def make_image(tree: Path, plan: Plan, packages: Sequence[str], blob: Path, *, kind: Kind, threads: int) -> SlimImage:
    """The image of the files in ``tree``, its layer written to ``blob``. Raises NodeError where they cannot be read."""
    names = tree_names(tree)
    own = header_entries(
        [
            Entry("tmp", mode=0o1777),
            *(Entry(path, owner=plan.image.user, mode=0o700) for path in [plan.image.volume.strip("/")]),
        ]
    )
    argv = tar_command(tree, owner=0, names=True, top=".")
    stream = LayerStream(argv, prefix=own, names=names, compression="gzip", threads=threads, thorough=True)
    with stream, blob.open("xb") as file:
        for piece in stream:
            file.write(piece)
    layer = stream.layer
    image = compose(
        _nothing(kind),
        canonical_json(_config(plan, packages)),
        [AddedLayer(layer, f"{plan.name} {plan.version} of {plan.suite}")],
        changes=RuntimeConfig(),
        kind=kind,
        compression="gzip",
    )
    return SlimImage(image, layer, blob)


def check_budget(budget: Budget, image: SlimImage, name: str) -> None:
    """Raises TooLargeError with the figures."""
    over = budget.overrun(image.layer.uncompressed_bytes, image.layer.size_bytes)
    if over:
        raise TooLargeError(
            f"The image {name} is over its budget: {over}.",
            advice="Leave files out, or raise the budget in its recipe and say why.",
        )


def write_archive(image: SlimImage, name: str, target: Path) -> None:
    """What `docker load` takes (Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset")."""
    config = f"{Digest.of(image.image.config).hex}.json"
    listed = [{"Config": config, "RepoTags": [name], "Layers": ["layer.tar.gz"]}]
    with tarfile.open(target, "x") as archive:
        for entry, content in ((config, image.image.config), ("manifest.json", json.dumps(listed).encode())):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
        archive.add(image.blob, "layer.tar.gz")


def send_image(registry: Registry, repository: str, image: SlimImage) -> Layer:
    """Sends the image, under its digest alone. Raises RegistryError."""
    reused = registry.has_blob(repository, image.layer.digest)
    if not reused:
        # Compressed already: it goes as it is.
        registry.upload(repository, lambda: LayerStream(["cat", str(image.blob)], compression="none"))
    registry.put_blob(repository, image.image.config)
    registry.put_manifest(repository, image.image.manifest, image.image.media_type, tag=None)
    return image.as_layer(reused=reused)


def _nothing(kind: Kind) -> Manifest:
    types = media_types(kind)
    return Manifest(types.manifest, Descriptor(types.config, Digest.of(b""), 0), ())


def _config(plan: Plan, packages: Sequence[str]) -> Mapping[str, Any]:
    """Nothing of this one build: the same recipe and packages, the same image."""
    machine = platform.machine()
    return {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": _runtime(plan.image)
        | {
            "Labels": {
                "org.opencontainers.image.title": plan.name,
                "org.opencontainers.image.version": plan.version,
                "io.buildfarm.suite": plan.suite,
                "io.buildfarm.packages": " ".join(packages),
            }
        },
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }


def _runtime(image: Runtime) -> dict[str, Any]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin"} | image.environment
    return {
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.cmd),
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "User": f"{image.user}:{image.user}",
        "WorkingDir": image.volume,
        "Volumes": {image.volume: {}},
        "ExposedPorts": {f"{image.port}/tcp": {}},
        "StopSignal": image.stop_signal,
        "Healthcheck": {
            "Test": ["CMD", *image.health],
            "Interval": 5 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 60 * _SECOND,
            "Retries": 3,
        },
    }
