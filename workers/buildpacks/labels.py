"""The labels of an app's image: standard ones, and those of Cloud Native Buildpacks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.model import BuildRequest
from buildfarm.releases.labels import LIFECYCLE_LABEL, REBASABLE_LABEL, compact
from workers.buildpacks.build import Built
from workers.buildpacks.cnb import CnbBuild
from workers.export.exporter import SentLayers


def image_labels(built: Built, request: BuildRequest, version: str, layers: SentLayers) -> Mapping[str, str]:
    """Standard annotations (image-spec annotations.md), and what Cloud Native Buildpacks add if they made the app.

    Nothing identifies this one build: the same source gives the same image. What is said of the base is added when the
    image is composed: see `buildfarm.releases.labels`.
    """
    standard = {
        "org.opencontainers.image.title": f"{request.tenant}/{request.app}",
        "org.opencontainers.image.revision": version,
    }
    # No buildpack can say that the image is another app's, or made of another source: the signer compares these.
    return standard if built.cnb is None else {**_lifecycle_labels(built.cnb, request, layers), **standard}


def _lifecycle_labels(built: CnbBuild, request: BuildRequest, layers: SentLayers) -> dict[str, str]:
    """As platform.md, "Labels" has them. Every ``sha`` is a diff ID, the digest of the uncompressed layer."""
    launch = {planned.path: layer for planned, layer in zip(built.launch_layers, layers.launch, strict=False)}
    lifecycle = {
        "app": [{"sha": layer.diff_id} for layer in layers.app],
        "buildpacks": [
            {
                "key": buildpack.id,
                "version": buildpack.version,
                "layers": {
                    layer.name: {
                        "sha": launch[layer.path].diff_id,
                        "data": layer.metadata,
                        "build": layer.build,
                        "launch": True,
                        "cache": layer.cache,
                    }
                    for layer in built.launch_layers
                    if layer.buildpack == buildpack.id
                },
                "store": {"metadata": built.stores.get(buildpack.id) or {}},
            }
            for buildpack in built.buildpacks
        ],
        # Its layer also has the launcher's metadata; the layers of buildpacks are below it.
        "sbom": {"sha": layers.launch[-1].diff_id},
    }
    build = {
        "processes": [
            {
                "type": process.type,
                "command": process.command,
                "args": process.args,
                "direct": True,
                "buildpackID": process.buildpack,
            }
            for process in built.processes
        ],
        "buildpacks": [
            {"id": item.id, "version": item.version, "homepage": item.homepage} for item in built.buildpacks
        ],
        "launcher": {"version": "0.0.0", "source": {"git": {"repository": "", "commit": ""}}},
    }
    project = {"source": {"type": request.source.kind, "version": {"revision": request.source.version}}}
    return {
        **built.labels,
        LIFECYCLE_LABEL: compact(lifecycle),
        "io.buildpacks.build.metadata": compact(build),
        "io.buildpacks.project.metadata": compact(project),
        REBASABLE_LABEL: "true",
    }
