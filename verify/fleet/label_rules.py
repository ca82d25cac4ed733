"""Labels and annotations of images as `pack inspect`, `pack rebase` and `crane rebase` need them.

pack and crane cannot be installed from Debian, PyPI or npm, so what they read is checked here by what the formats say:
Cloud Native Buildpacks' platform.md, "Labels", image-spec annotations.md, and crane's rule for a rebase.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from verify.fleet.image_labels import BASE_DIGEST, BASE_NAME, Image
from verify.fleet.label_types import LIFECYCLE, SCHEMAS, wrong

STACK, REBASABLE = "io.buildpacks.stack.id", "io.buildpacks.rebasable"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def problems(image: Image, *, by_cnb: bool) -> list[str]:
    """What pack, the lifecycle or crane would refuse or misread, a phrase each; nothing of a sound image.

    ``by_cnb``: Cloud Native Buildpacks made the app, so that their labels must be there.
    """
    return [*_of_crane(image), *(_of_pack(image) if by_cnb or LIFECYCLE in image.labels else ())]


def _of_crane(image: Image) -> Iterator[str]:
    """`crane rebase` reads the base from annotations, and its layers must be the image's first ones."""
    annotations = image.manifest.get("annotations") or {}
    for name in (BASE_NAME, BASE_DIGEST):
        if not annotations.get(name) or annotations[name] != image.labels.get(name):
            yield f"the annotation {name} is missing or not as the label"
    if image.base is None:
        yield "the base that it names is not in the registry"
        return
    below = [layer["digest"] for layer in image.base["layers"]]
    if [layer["digest"] for layer in image.manifest["layers"]][: len(below)] != below:
        yield "its first layers are not those of the base that it names"


def _of_pack(image: Image) -> Iterator[str]:
    found: dict[str, Any] = {}
    for label, schema in SCHEMAS.items():
        try:
            found[label] = json.loads(image.labels[label])
        except (KeyError, ValueError):
            yield f"{label} is missing or not JSON"
            return
        yield from wrong(found[label], schema, label)
    if not image.labels.get(STACK):
        yield f"{STACK} is missing"
    if image.labels.get(REBASABLE) not in ("true", "false"):
        yield f"{REBASABLE} is neither true nor false"
    yield from _of_lifecycle(found[LIFECYCLE], image)


def _of_lifecycle(told: Mapping[str, Any], image: Image) -> Iterator[str]:
    """Every ``sha`` is a diff ID of the image, and the app's own layers begin above the run image's."""
    diff_ids = image.config["rootfs"]["diff_ids"]
    below = len(image.base["layers"]) if image.base else 0
    for sha in _shas({name: value for name, value in told.items() if name != "runImage"}):
        if not _DIGEST.fullmatch(sha) or sha not in diff_ids[below:]:
            yield f"{LIFECYCLE} names the layer {sha[:19]}, which is not one of the app's"
    run_image = told.get("runImage", {})
    if not below or run_image.get("topLayer") != diff_ids[below - 1]:
        yield f"{LIFECYCLE}: runImage.topLayer is not the base's uppermost layer"
    if run_image.get("reference", "").partition("@")[2] != image.labels.get(BASE_DIGEST):
        yield f"{LIFECYCLE}: runImage.reference is not the base"


def _shas(told: Any) -> Iterator[str]:
    if isinstance(told, dict):
        yield from ([told["sha"]] if isinstance(told.get("sha"), str) else ())
    for value in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        yield from _shas(value)
