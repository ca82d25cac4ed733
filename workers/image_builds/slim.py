"""A tree as an image that stands on nothing: one layer, a config that says how it runs, and the way to an engine.

What the engine is given to try is what the registry gets: the same config, and so the same diff IDs.
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from buildfarm.errors import TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import AddedLayer, RuntimeConfig, compose
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, Kind, Manifest, canonical_json, media_types
from buildfarm.oci.tree import Entry, header_entries
from buildfarm.recipes.parts import Budget, Runtime
from buildfarm.recipes.plan import SlimPlan
from workers.build_folder import BuildFolder
from workers.image_builds.made_image import MadeImage, MadeLayer

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as image-spec config.md requires: Go's names
_SECOND = 1_000_000_000  # of Docker's healthcheck, in nanoseconds


def volume_mode(plan: SlimPlan) -> int:
    """Whichever user the container has can write, where a script of ours keeps what it makes to that user."""
    return 0o1777 if plan.image.entrypoint[0] == "/start" else 0o700


def make_image(
    tree: BuildFolder, plan: SlimPlan, packages: Sequence[str], blob: Path, *, kind: Kind, threads: int
) -> MadeImage:
    """The image of the files in ``tree``, its layer written to ``blob``. Raises NodeError if they cannot be read."""
    own = header_entries(
        [
            Entry("tmp", mode=0o1777),
            # A new volume gets these permissions.
            *(Entry(path, owner=plan.image.user, mode=volume_mode(plan)) for path in [plan.image.volume.strip("/")]),
        ]
    )
    archive = tree.archive(tree.scan().found, owner=0, top=".")
    stream = LayerStream(
        archive.argv, prefix=own, names=archive.names, compression="gzip", threads=threads, thorough=True
    )
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
    return MadeImage(image, (MadeLayer(layer, blob),))


def check_budget(budget: Budget, image: MadeImage, name: str) -> None:
    """Raises TooLargeError with the figures."""
    over = budget.overrun(image.uncompressed_bytes, image.size_bytes)
    if over:
        raise TooLargeError(
            f"The image {name} is over its budget: {over}.",
            advice="Leave files out, or raise the budget in its recipe and say why.",
        )


def write_archive(made: MadeImage, name: str, target: Path) -> None:
    """What `docker load` takes (Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset")."""
    config = f"{Digest.of(made.image.config).hex}.json"
    layers = {f"{number}.tar.gz": layer.file for number, layer in enumerate(made.layers)}
    listed = [{"Config": config, "RepoTags": [name], "Layers": list(layers)}]
    with tarfile.open(target, "x") as archive:
        for entry, content in ((config, made.image.config), ("manifest.json", json.dumps(listed).encode())):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
        for entry, blob in layers.items():
            archive.add(blob, entry)


def _nothing(kind: Kind) -> Manifest:
    types = media_types(kind)
    return Manifest(types.manifest, Descriptor(types.config, Digest.of(b""), 0), ())


def _config(plan: SlimPlan, packages: Sequence[str]) -> Mapping[str, Any]:
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
