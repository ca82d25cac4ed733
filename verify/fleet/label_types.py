"""The labels of Cloud Native Buildpacks as types: platform.md, "Labels"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BUILD, LIFECYCLE = "io.buildpacks.build.metadata", "io.buildpacks.lifecycle.metadata"
PROJECT = "io.buildpacks.project.metadata"

# The type of each field that may be there; a field with ! must be there. A list has the type of its entries; the key
# "*" stands for any name. Go, in which pack and the lifecycle are written, refuses a whole label for one wrong type.
_PROCESS = {"type!": str, "command!": (str, list), "args": [str], "direct!": bool, "buildpackID": str}
_BUILDPACK = {"id!": str, "version!": str, "homepage": str}
_LAYER = {"sha!": str, "data": dict, "build": bool, "launch": bool, "cache": bool}
_SHA = {"sha!": str}
_RUN_IMAGE = {"image": str, "mirrors": [str]}
SCHEMAS: Mapping[str, Any] = {
    BUILD: {
        "processes!": [_PROCESS], "buildpacks!": [_BUILDPACK], "bom": [dict],
        "launcher": {"version": str, "source": {"git": {"repository": str, "commit": str}}},
    },
    LIFECYCLE: {
        "app!": [_SHA], "sbom": _SHA, "config": _SHA, "launcher": _SHA, "process-types": _SHA,
        "buildpacks!": [{"key!": str, "version!": str, "layers!": {"*": _LAYER}, "store": {"metadata": dict}}],
        "runImage!": {"topLayer!": str, "reference!": str, **_RUN_IMAGE}, "stack": {"runImage": _RUN_IMAGE},
    },
    PROJECT: {"source": {"type": str, "version": dict, "metadata": dict}},
}  # fmt: skip


def wrong(value: Any, schema: Any, where: str) -> Iterator[str]:
    """Where a value is not as its schema says."""
    if isinstance(schema, type | tuple):
        if not isinstance(value, schema):
            yield f"{where} has a wrong type"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield f"{where} is not a list"
            return
        for one in value:
            yield from wrong(one, schema[0], f"{where}[]")
    elif not isinstance(value, dict):
        yield f"{where} is not an object"
    else:
        needed = {name.removesuffix("!") for name in schema if name.endswith("!")}
        yield from (f"{where} lacks {name}" for name in sorted(needed - value.keys()))
        types = {name.removesuffix("!"): one for name, one in schema.items()}
        for name, one in value.items():
            if "*" in types or name in types:
                yield from wrong(one, types.get("*", types.get(name)), f"{where}.{name}")
            else:
                yield f"{where} has {name}, which the format does not name"
