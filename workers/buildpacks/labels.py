"""The labels by which tools know an image of Cloud Native Buildpacks (platform.md, "Labels"). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from buildfarm.model import BuildRequest, Layer
from workers.buildpacks.cnb import CnbBuild
from workers.buildpacks.previous import LIFECYCLE_LABEL


def image_labels(
    built: CnbBuild,
    request: BuildRequest,
    base: str,
    *,
    launch: Mapping[str, Layer],
    app: Sequence[Layer],
    builder: Sequence[Layer],
) -> dict[str, str]:
    """``launch`` are the buildpacks' layers by their path below /layers, ``app`` the others from the bottom up.

    ``base`` is the builder's reference.

    Every ``sha`` is a diff ID, the digest of the uncompressed layer.
    """
    lifecycle = {
        "app": [{"sha": layer.diff_id} for layer in app],
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
        "runImage": {"topLayer": builder[-1].diff_id, "reference": base, "image": base.partition("@")[0]},
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
        LIFECYCLE_LABEL: _compact(lifecycle),
        "io.buildpacks.build.metadata": _compact(build),
        "io.buildpacks.project.metadata": _compact(project),
        "io.buildpacks.rebasable": "true",
    }


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
